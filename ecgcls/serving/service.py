"""What the server's one thread does: from the files of a request to the JSON of its answer."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ecgcls.data.metadata import read_patient
from ecgcls.errors import ConfigError, DataError
from ecgcls.serving.answers import BatchLine, PredictAnswer
from ecgcls.serving.limits import Limits, Refused
from ecgcls.serving.predicting import Wishes, answer, find_certainty
from ecgcls.serving.recordings import Uploaded, read, refuse_others

if TYPE_CHECKING:
    from ecgcls.jobs.predictor import Predictor

_Result = TypeVar("_Result")


class Service:
    """A predictor, and how much is asked of it."""

    def __init__(self, predictor: "Predictor", limits: Limits) -> None:
        self.predictor, self.limits = predictor, limits
        self.why_not_certain = find_certainty(predictor)

    def predict(self, files: Mapping[str, bytes], wishes: Wishes) -> bytes:
        """Return a `PredictAnswer` as JSON of the one recording that some files hold; else `Refused`."""
        with self._place(files) as uploaded:
            found, unused = uploaded.list_recordings()
            if not found:
                raise refuse_others(uploaded, unused)
            if len(found) > 1:
                names = ", ".join(map(uploaded.name, found[:3])) + ", ..." * (len(found) > 3)
                raise Refused(422, f"{len(found)} recordings ({names}), expected one: /api/batch takes many")
            if unused:
                names = ", ".join(map(uploaded.name, unused[:3])) + ", ..." * (len(unused) > 3)
                raise Refused(422, f"files that do not belong to {uploaded.name(found[0])}: {names}; send them apart")
            return self.answer(uploaded, found[0], wishes).model_dump_json().encode()

    def open_batch(self, files: Mapping[str, bytes], wishes: Wishes) -> "Batch":
        """Place the files of a batch; whoever asks closes it."""
        return Batch(self, self._place(files), wishes)

    def answer(self, uploaded: Uploaded, path: Path, wishes: Wishes) -> PredictAnswer:
        """Answer one recording; what is wrong with it or with the wishes is `Refused`."""
        predictor = self.predictor

        def work() -> PredictAnswer:
            recording = read(path, self.limits, lead_names=predictor.lead_names)
            columns = predictor.metadata_names
            beside = dict(zip(columns, read_patient(path, recording.patient, columns).tolist(), strict=True))
            return answer(
                predictor,
                recording,
                uploaded.name(path),
                wishes,
                beside=beside,
                why_not_certain=self.why_not_certain,
            )

        return self._refuse_errors(uploaded.tell, work)

    def _place(self, files: Mapping[str, bytes]) -> Uploaded:
        return self._refuse_errors(str, lambda: Uploaded(files, self.limits))

    def _refuse_errors(self, tell: Callable[[object], str], work: Callable[[], _Result]) -> _Result:
        """Turn whatever goes wrong into a refusal of one line, which tells nothing of this machine."""
        own = f"{self.predictor.path}"
        try:
            return work()
        except Refused:
            raise
        except ConfigError as error:
            raise Refused(400, tell(str(error).replace(own, "the bundle"))) from error
        except DataError as error:
            raise Refused(422, tell(str(error).replace(own, "the bundle"))) from error
        except Exception as error:  # a file of strangers may make anything stumble
            raise Refused(422, f"the recording cannot be used ({type(error).__name__})") from error


class Batch:
    """The recordings of a request with many, and its files that are none."""

    def __init__(self, service: Service, uploaded: Uploaded, wishes: Wishes) -> None:
        self._service, self._uploaded, self._wishes = service, uploaded, replace(wishes, draws=False)
        found, unused = uploaded.list_recordings()
        self._paths = [*found, *unused]
        self._n_found = len(found)

    def __len__(self) -> int:
        return len(self._paths)

    def __enter__(self) -> "Batch":
        return self

    def __exit__(self, *_: object) -> None:
        self._uploaded.close()

    def answer(self, number: int) -> bytes:
        """Return a `BatchLine` as JSON, with its line end."""
        path = self._paths[number]
        line = BatchLine(number=number + 1, n_records=len(self), record=self._uploaded.name(path))
        try:
            if number >= self._n_found:
                raise refuse_others(self._uploaded, [path])
            line.answer = self._service.answer(self._uploaded, path, self._wishes)
        except Refused as refused:
            line.error = refused.error
        return line.model_dump_json().encode() + b"\n"
