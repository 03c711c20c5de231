"""XML as strangers' devices and exports write it."""

import numpy as np
import pytest

from ecgcls.data import xml_documents
from ecgcls.data.formats import recognize
from ecgcls.data.recordings import read_recording
from ecgcls.data.signals import LEADS
from ecgcls.errors import DataError
from tests.data.device_files import write_aecg, write_muse, write_sierra

RATE_HZ = 500
WRITERS = {"muse": write_muse, "sierra": write_sierra, "aecg": write_aecg}


@pytest.fixture(scope="module")
def signal_mv():
    return np.round(np.random.default_rng(0).normal(0, 0.3, (12, RATE_HZ)), 2)


def _declare(path, declaration, content=""):
    """Replace the declaration of a document, and put content in front of its root element."""
    document = path.read_bytes()
    path.write_bytes(declaration + content.encode("gb18030") + document[document.index(b"?>") + 2 :])


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("encoding", ["gb2312", "Shift_JIS", "utf-16", "windows-1252", "unheard-of"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_encoding_that_the_parser_refuses_loses_no_sample(signal_mv, tmp_path, write, encoding, mark):
    path = write(tmp_path / "ecg.xml", signal_mv, LEADS, RATE_HZ)
    right = read_recording(path)
    _declare(path, mark + f'<?xml version="1.0" encoding="{encoding}"?>'.encode(), "<!-- 心电图 -->")
    found = read_recording(path)
    np.testing.assert_array_equal(found.signal_mv, right.signal_mv)
    assert (found.lead_names, found.notes) == (right.lead_names, right.notes)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_needs_no_byte_order_mark(signal_mv, tmp_path, encoding):
    path = write_muse(tmp_path / "ecg.xml", signal_mv, LEADS, RATE_HZ)
    right = read_recording(path)
    path.write_bytes(path.read_text("latin-1").replace("ISO-8859-1", "UTF-16").encode(encoding))
    np.testing.assert_array_equal(read_recording(path).signal_mv, right.signal_mv)


@pytest.mark.parametrize("root", ["RestingECG", "restingecgdata", "AnnotatedECG"])
@pytest.mark.parametrize("encoding", ["gb2312", "unheard-of"])
def test_entities_are_refused_in_any_encoding(tmp_path, root, encoding):
    path = tmp_path / "ecg.xml"
    path.write_text(
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE {root} [<!ENTITY a "aa">]><{root}>&a;</{root}>'
    )
    assert recognize(path) is None
    with pytest.raises(DataError, match="XML that declares entities"):
        read_recording(path)


def test_a_document_of_too_many_elements_is_refused_unparsed(signal_mv, tmp_path, monkeypatch):
    path = write_muse(tmp_path / "ecg.xml", signal_mv, LEADS, RATE_HZ)
    n_tags = path.read_bytes().count(b"<") + path.read_bytes().count(b"=")
    monkeypatch.setattr(xml_documents, "_MAX_TAGS", n_tags)
    assert read_recording(path).signal_mv.shape == signal_mv.shape
    monkeypatch.setattr(xml_documents, "_MAX_TAGS", n_tags - 1)
    with pytest.raises(
        DataError, match=rf"ecg\.xml: XML with {n_tags} tags and attributes, at most {n_tags - 1} are read"
    ):
        read_recording(path)


def test_an_error_names_the_file_and_no_copy_of_it(signal_mv, tmp_path):
    path = write_muse(tmp_path / "ecg.xml", signal_mv, LEADS, RATE_HZ)
    document = path.read_bytes().replace(b"Rhythm", b"Median").replace(b"ISO-8859-1", b"gb2312")
    path.write_bytes(document)
    with pytest.raises(DataError) as error:
        read_recording(path)
    assert str(error.value) == f"{path}: not readable as GE MUSE XML: No rhythm waveform"


# --- what MUSE says of its leads


def test_an_electrode_that_the_device_found_off_is_a_doubt(signal_mv, tmp_path):
    path = write_muse(tmp_path / "ecg.xml", signal_mv, LEADS, RATE_HZ)
    document = path.read_bytes()
    for name, is_off in ((b"V3", b"TRUE"), (b"V4", b"FALSE")):
        lead = b"<LeadID>" + name
        document = document.replace(lead, b"<LeadOff>" + is_off + b"</LeadOff>" + lead)
    path.write_bytes(document)
    assert read_recording(path).guesses == ("the device says that an electrode was off: V3",)


def test_leads_that_start_at_different_times_are_refused(signal_mv, tmp_path):
    path = write_muse(tmp_path / "ecg.xml", signal_mv[:2], LEADS[:2], RATE_HZ)
    lead = b"<LeadID>II<"
    path.write_bytes(path.read_bytes().replace(lead, b"<LeadTimeOffset>2500</LeadTimeOffset>" + lead))
    with pytest.raises(DataError, match=r"not recorded at the same time: I 500 samples, II 500 samples from 2500$"):
        read_recording(path)
