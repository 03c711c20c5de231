"""Attribution by occlusion: how much the logit drops when a piece of the ECG is replaced by the baseline.

References
----------
Zeiler, Fergus. Visualizing and understanding convolutional networks. ECCV 2014. arXiv:1311.2901
"""

from captum.attr import Occlusion

from ecgcls.errors import ConfigError
from ecgcls.explanation.method import BATCH_SIZE, Maps, Method, MethodSettings, Query, count_samples


def occlusion(query: Query, settings: MethodSettings) -> Maps:
    """Drop of the logit when a window of one lead is replaced by the baseline."""
    return _slide(query, settings, n_leads=1)


def occlusion_time(query: Query, settings: MethodSettings) -> Maps:
    """Drop of the logit when a window of all leads is replaced by the baseline."""
    return _slide(query, settings, n_leads=query.signal_mv.shape[1])


def occlusion_lead(query: Query, settings: MethodSettings) -> Maps:
    """Drop of the logit when a whole lead is replaced by the baseline."""
    whole_lead = (1, query.signal_mv.shape[2])
    return _occlude(query, window=whole_lead, stride=whole_lead)


def _slide(query: Query, settings: MethodSettings, *, n_leads: int) -> Maps:
    """Slide a window over time and, where it does not cover all of them, over the leads."""
    rate_hz, n_samples = query.sampling_rate_hz, query.signal_mv.shape[2]
    window = count_samples("window_s", settings.window_s, sampling_rate_hz=rate_hz)
    stride = count_samples("stride_s", settings.stride_s, sampling_rate_hz=rate_hz)
    if window > n_samples:
        raise ConfigError(f"window_s must be no longer than the record, {n_samples} samples, got {window} samples")
    if stride > window:
        raise ConfigError(
            f"stride_s must be no longer than window_s, {window} samples, or some samples are never covered; "
            f"got {stride} samples"
        )
    return _occlude(query, window=(n_leads, window), stride=(n_leads, stride))


def _occlude(query: Query, *, window: tuple[int, int], stride: tuple[int, int]) -> Maps:
    """Occlude windows of (leads, samples)."""
    values = Occlusion(query.logits).attribute(
        query.deviation_mv,
        target=query.class_index,
        sliding_window_shapes=window,
        strides=stride,
        baselines=0,
        perturbations_per_eval=max(1, BATCH_SIZE // len(query)),
    )
    return Maps(values)


METHODS = (
    Method("occlusion", "Occlusion", "logit", is_signed=True, explain=occlusion),
    Method("occlusion_lead", "Occlusion of a lead", "logit", is_signed=True, explain=occlusion_lead),
    Method("occlusion_time", "Occlusion in time", "logit", is_signed=True, explain=occlusion_time),
)
