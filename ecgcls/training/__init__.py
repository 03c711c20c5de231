"""What turns a net into a trained classifier: the LightningModule, its losses and its metrics."""
