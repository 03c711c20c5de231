"""What a bundle is, takes and cannot know, in words and numbers for those who try it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ecgcls.data.formats import FORMATS
from ecgcls.serving.answers import BundleAnswer, ClassOfBundle, InputOfBundle, LimitsOfServer, Parity, UnknownOfBundle
from ecgcls.serving.drawing import MAX_DRAWN_HZ, MAX_DRAWN_S
from ecgcls.serving.limits import Limits
from ecgcls.serving.predicting import NOTICE

if TYPE_CHECKING:
    from ecgcls.jobs.predictor import Predictor

_UNFITTED = {"none", "unweighted"}  # methods of a calibrator that was not fitted to any record


def describe_bundle(
    predictor: "Predictor", facts: Mapping[str, Any], limits: Limits, why_not_certain: str
) -> BundleAnswer:
    """Describe what answers; `facts` is the content of ``metadata.json``, of which any key may be missing."""
    data, parity = facts.get("training_data", {}), facts.get("parity", {})
    duration_s = predictor.n_samples / predictor.sampling_rate_hz
    return BundleAnswer(
        name=facts.get("name") or predictor.path.name,
        version=facts.get("version", ""),
        description=facts.get("description", ""),
        model=predictor.info.model,
        variant=predictor.info.variant,
        members=[each["model"] for each in predictor.info.ensemble.get("members", ())],
        trained=(predictor.info.finished or "")[:10],
        n_nets=predictor.n_nets,
        folds=predictor.folds,
        classes=_describe_classes(predictor, facts, why_not_certain),
        threshold_rule=_name_rule(facts.get("decisions", {}).get("threshold_rule", {})),
        input=InputOfBundle(
            lead_names=list(predictor.lead_names),
            sampling_rate_hz=predictor.sampling_rate_hz,
            n_samples=predictor.n_samples,
            duration_s=duration_s,
            metadata=list(predictor.metadata_names),
            may_lack_leads=predictor.may_lack_leads,
            shorter="pad" if predictor.pads else "refuse",
        ),
        can_be_certain=not why_not_certain,
        why_not_certain=why_not_certain,
        unknown=list_unknown(predictor, data.get("name", "")),
        training_data=data.get("name", ""),
        is_synthetic=predictor.info.synthetic,
        license="; training data: ".join(filter(None, [facts.get("license"), data.get("license")])),
        intended_use=facts.get("intended_use", ""),
        parity=Parity(**{key: parity[key] for key in Parity.model_fields if key in parity}) if parity else None,
        formats=["WFDB", *FORMATS],
        limits=LimitsOfServer(
            max_upload_mb=limits.max_upload_mb,
            max_files=limits.max_files,
            max_duration_s=limits.max_duration_s,
            max_drawn_s=MAX_DRAWN_S,
            max_drawn_hz=MAX_DRAWN_HZ,
            max_waiting=limits.max_waiting,
        ),
        notice=NOTICE,
    )


def list_unknown(predictor: "Predictor", data_name: str = "") -> list[UnknownOfBundle]:
    """Say by topic what the nets cannot know."""
    names, leads = predictor.class_names, predictor.lead_names
    listed = ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:12])} and {len(names) - 12} more"
    duration_s = predictor.n_samples / predictor.sampling_rate_hz
    beside = " and ".join(predictor.metadata_names)
    told = {
        "Classes": f"Only {len(names)} {'class is' if len(names) == 1 else 'classes are'} known: {listed}. Other "
        "findings are not reported: an ECG with none of these may still be abnormal.",
        "Leads and time": f"The nets see {len(leads)} lead{'s' * (len(leads) > 1)} ({', '.join(leads)}) at "
        f"{predictor.sampling_rate_hz:g} Hz, {duration_s:g} s at a time. They cannot see what is faster than "
        f"{predictor.sampling_rate_hz / 2:g} Hz, such as pacemaker spikes, or what happens between recordings.",
        "The patient": f"They are told {beside} and nothing else: no symptoms, drugs, earlier ECGs or blood values."
        if beside
        else "They are told nothing: no age, sex, symptoms, drugs, earlier ECGs or blood values.",
        "Ages": "A bundle does not record how old the training patients were. At ages that were rare among them, "
        "answers may be wrong without a sign of it.",
        "Devices": "Nor does it record the devices. Other filters, electrodes or placements than those of the training "
        "data may change the answers.",
        "Populations": f"{_tell_calibration(predictor, data_name)} Where findings are rarer or more frequent than in "
        "the training data, probabilities may be too high or too low.",
        "Labels": "What the training data's readers took for a finding is what the nets learned, errors included.",
    }
    if predictor.info.synthetic:
        told = {"Patients": "The nets were trained on made-up ECGs: nothing they say is about patients.", **told}
    if why := predictor.why_no_likeness:
        told["Unlike ECGs"] = f"Whether an ECG is unlike the training data is not checked: {why}."
    return [UnknownOfBundle(topic=topic, says=says) for topic, says in told.items()]


def _tell_calibration(predictor: "Predictor", data_name: str) -> str:
    """Say on what the probabilities were calibrated, and for which classes that was not possible."""
    fits = {name: {each.by_class[name]["method"] for each in predictor.calibrators} for name in predictor.class_names}
    unfitted = [name for name, methods in fits.items() if methods & _UNFITTED]
    methods = sorted(set().union(*fits.values()) - _UNFITTED)
    if not methods:
        return (
            "Probabilities are not calibrated: nothing was fitted to validation records"
            + ", only the loss's class weights were taken out" * any("unweighted" in each for each in fits.values())
            + "."
        )
    few = ", ".join(unfitted) if len(unfitted) <= 12 else f"{len(unfitted)} of {len(fits)} classes"
    return (
        f"Probabilities were calibrated ({', '.join(methods)}) on validation records of the training data"
        f"{f' ({data_name})' * bool(data_name)}"
        + f", each of the {predictor.n_nets} nets by itself and not their mean" * (predictor.n_nets > 1)
        + f"; not, or not in each net, those of {few}" * bool(unfitted)
        + "."
    )


def _tell_untuned(predictor: "Predictor") -> dict[str, str]:
    """Return by class why its threshold was not tuned; of a mean of folds the first one's reasons are known."""
    decisions = predictor.info.decisions or {}
    if decisions.get("threshold_rule", {}).get("rule") == "fixed":
        return dict.fromkeys(predictor.class_names, "one fixed rule for all classes")
    where = "in the first fold, " * bool(predictor.folds)
    return {name: f"{where}{why}" for name, why in decisions.get("not_tuned", {}).items()}


def _describe_classes(predictor: "Predictor", facts: Mapping[str, Any], why_not_certain: str) -> list[ClassOfBundle]:
    own = {each["name"]: each for each in facts.get("classes", ())}
    untuned = _tell_untuned(predictor)
    known = None if why_not_certain else predictor.n_known.tolist()
    return [
        ClassOfBundle(
            name=name,
            threshold=predictor.thresholds[name],
            threshold_note=untuned.get(name, ""),
            **{key: own[name][key] for key in ("description", "scp_codes", "snomed_ct") if key in own.get(name, {})},
            n_patients=None if known is None else known[number],
        )
        for number, name in enumerate(predictor.class_names)
    ]


def _name_rule(rule: Mapping[str, Any]) -> str:
    """Name the rule of the thresholds, with its settings."""
    others = [f"{key} {value}" for key, value in rule.items() if key != "rule" and value is not None]
    return f"{rule.get('rule', '')}{' (' * bool(others)}{', '.join(others)}{')' * bool(others)}"
