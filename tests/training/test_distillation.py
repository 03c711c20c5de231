import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

from ecgcls.errors import ConfigError
from ecgcls.training.augmentation import Augmenter
from ecgcls.training.classifier import ECGClassifier
from ecgcls.training.distillation import Distillation
from ecgcls.training.exclusive import against_the_rest
from ecgcls.training.losses import BCE
from ecgcls.training.mixing import Mixup


def test_the_loss_of_the_teacher_by_hand():
    torch.manual_seed(0)
    logits, y_prob, loss = torch.randn(4, 3), torch.rand(4, 3), torch.tensor(2.0)
    p = logits.sigmoid()
    expected = -(y_prob * p.log() + (1 - y_prob) * (1 - p).log()).mean()
    torch.testing.assert_close(Distillation(0.3).add(loss, logits, y_prob), 0.7 * loss + 0.3 * expected)
    scores, y_prob = logits, y_prob.softmax(dim=1)
    expected = functional.cross_entropy(scores, y_prob)
    found = Distillation(1.0, is_exclusive=True).add(loss, against_the_rest(scores), y_prob)
    torch.testing.assert_close(found, expected)


def test_a_batch_learns_from_labels_and_teacher_which_are_mixed_alike():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    teacher = Distillation(0.25)
    teacher.y_prob = torch.rand(9, 2)
    classifier = ECGClassifier(
        net,
        class_names=("A", "B"),
        mean_mv=torch.zeros(2),
        sd_mv=torch.ones(2),
        standardized_on="0" * 64,
        loss=BCE(torch.ones(2)),
        optimizer=torch.optim.SGD,
        scheduler=None,
        metrics={},
        augment=Augmenter({"mixup": Mixup(alpha=1.0)}, seed=0),
        distillation=teacher,
    )
    classifier._trainer = functools.partial(object)  # of a module that no trainer has: what its epoch is asked of
    classifier._trainer.current_epoch = classifier._trainer.global_rank = 0
    record = torch.tensor([7, 2, 4, 8])
    batch = {"signal": torch.randn(4, 2, 3), "target": torch.tensor([[1.0, 0], [0, -1], [1, 1], [0, 0]])}
    found, target = classifier._learn({**batch, "record": record}, 0)
    place = {"epoch": 0, "batch": 0, "process": 0}
    signal, soft = classifier.augment.apply(batch["signal"], teacher.y_prob[record], **place)
    assert torch.equal(target, classifier.augment.apply(batch["signal"], batch["target"], **place)[1])
    of_labels = classifier.loss(net(signal), target)
    of_teacher = functional.binary_cross_entropy_with_logits(net(signal), soft)
    torch.testing.assert_close(found, 0.75 * of_labels + 0.25 * of_teacher)


@pytest.mark.parametrize("weight", [0, 1.1])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ConfigError, match=r"distill\.weight must be above 0 and at most 1"):
        Distillation(weight)
