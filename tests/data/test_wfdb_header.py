import pytest

from ecgcls.data.wfdb_header import Coding, Scale, Segment, Signal, parse_header
from ecgcls.errors import DataError

LINE = "r.dat 16 1000(0)/mV 16 0 -5 77 0 V6"


def parse(record_line: str = "r 1 100 50", *lines: str):
    return parse_header("\n".join([record_line, *(lines or (LINE,))]).encode(), "r.hea")


def parse_signal(line: str) -> Signal:
    return parse("r 1 100 50", line).signals[0]


# --- the record line


@pytest.mark.parametrize(
    ("line", "rate_hz", "n_samples"),
    [
        ("r 1 100 50", 100, 50),
        ("r\t1  360.5\t50 ", 360.5, 50),
        ("E00001.mat 1 500 5000 05-May-2020 14:50:55", 500, 5000),
        ("r.hea 1 500 5000 14:50:55 05-May-2020", 500, 5000),
        ("r 1 500 5000 2020-05-05 09:49:17", 500, 5000),
        ("r 1 500 5000 10:11:12 01/02/2020", 500, 5000),
        ("r 1 500 5000 01/02/2020", 500, 5000),
        ("r 1 500 5000 2006", 500, 5000),
        ("r 1 500 5000 10:11:12.345 2006", 500, 5000),
        ("r 1 100/100 50", 100, 50),
        ("r 1 100/1(0) 50 10:11:12", 100, 50),
        ("r 1 100/360.5(-12.5) 50", 100, 50),
        ("r 1 100", 100, 0),
        ("r 1 100 0", 100, 0),  # the standard: not known
        ("r 1 100 10:11:12 01/02/2020", 100, 0),
        ("my-record_1 1 0.5 7", 0.5, 7),
    ],
)
def test_record_lines_as_people_write_them(line, rate_hz, n_samples):
    header = parse(line)
    assert (header.sampling_rate_hz, header.n_samples, header.notes) == (rate_hz, n_samples, ())


def test_without_a_sampling_rate_it_is_250_hz_and_told():
    header = parse("r 1")
    assert header.sampling_rate_hz == 250 and header.n_samples == 0
    assert header.notes == ("no sampling rate in the header: taken as 250 Hz",)


BAD_RATES = "nan inf -100 +100 0 0.0 1e9 1e2 1000001 1,000 100Hz 0x10 100/x 100(0 . 9999999999"


@pytest.mark.parametrize("rate", BAD_RATES.split())
def test_a_sampling_rate_is_never_guessed(rate):
    with pytest.raises(DataError, match=r"r\.hea: not a WFDB header: the sampling rate must be a number above 0"):
        parse(f"r 1 {rate} 50")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("r", "a record line has a name and a number of signals"),
        ("r x 100 50", "the number of signals must be a whole number, got 'x'"),
        ("r -1 100 50", "the number of signals must be a whole number, got '-1'"),
        ("r 1 100 -50", "the number of samples must be a whole number, got '-50'"),
        ("r 1 100 1e3", "the number of samples must be a whole number, got '1e3'"),
        ("r 1 100 nan", "the number of samples must be a whole number"),
        ("r 1 100 " + "9" * 5000, "a line of many characters"),
        ("r 1 100 " + "9" * 16, "the number of samples must be a whole number"),
        ("r/x 1 100 50", "the number of segments must be a whole number, got 'x'"),
        ("r 2 100 50", "2 signals are announced, 1 lines describe some"),
        ("r 0 100 50", "0 signals are announced, 1 lines"),
        ("r 999999999 100 50", "999999999 signals are announced"),
    ],
)
def test_counts_are_never_guessed(line, match):
    with pytest.raises(DataError, match=match):
        parse(line)


def test_segments():
    header = parse("r/3 12 100 80", "a 50", "~ 10", "b_2 20")
    assert header.segments == (Segment("a", 50), Segment("~", 10), Segment("b_2", 20))
    assert header.n_samples == 80 and header.signals == ()
    with pytest.raises(DataError, match="81 samples are announced, the segments have 80"):
        parse("r/3 12 100 81", "a 50", "~ 10", "b_2 20")
    with pytest.raises(DataError, match="a segment line has a name and a number of samples, in the line 'b 20 x'"):
        parse("r/2 12 100 70", "a 50", "b 20 x")


# --- signal lines


PLAIN, MV = Coding(16, 1, 0, 0), Scale(1000, 0, "mV", "")
UNCALIBRATED = Scale(200, 0, "mV", "no gain in the header")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LINE, Signal("r.dat", PLAIN, MV, -5, 77, 0, "V6")),
        (
            "r.dat\t16 1000(0)/mV 16 0 -5 77 512   ECG lead  V6 ",
            Signal("r.dat", PLAIN, MV, -5, 77, 512, "ECG lead  V6"),
        ),
        ("r.dat 16 1000(0)/mV 16 0 -5 77 0", Signal("r.dat", PLAIN, MV, -5, 77, 0, "(no name)")),
        ("r.dat 16 1000(0)/mV 16 0 -5 77", Signal("r.dat", PLAIN, MV, -5, 77, 0, "(no name)")),
        ("r.dat 16 1000(0)/mV 16 0", Signal("r.dat", PLAIN, MV, 0, None, 0, "(no name)")),
        ("r.dat 16 1000(0)/mV 16 0 aVR", Signal("r.dat", PLAIN, MV, 0, None, 0, "aVR")),
        ("r.dat 16 1000(0)/mV lead I of 12", Signal("r.dat", PLAIN, MV, 0, None, 0, "lead I of 12")),
        ("r.dat 16 MDC_ECG_LEAD_I", Signal("r.dat", PLAIN, UNCALIBRATED, 0, None, 0, "MDC_ECG_LEAD_I")),
        ("r.dat 16", Signal("r.dat", PLAIN, UNCALIBRATED, 0, None, 0, "(no name)")),
        ("~ 0 1000/mV", Signal("~", Coding(0, 1, 0, 0), MV, 0, None, 0, "(no name)")),
    ],
)
def test_signal_lines_with_all_fields_and_with_some_left_out(line, expected):
    assert parse_signal(line) == expected
    both = parse("r 2 100 50", line, line)  # lines that are alike are parsed together
    assert both.signals == (expected, expected) and both.signal_names == (expected.name,) * 2


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("212", Coding(212, 1, 0, 0)),
        ("16+24", Coding(16, 1, 0, 24)),
        ("16x4", Coding(16, 4, 0, 0)),
        ("16:30", Coding(16, 1, 30, 0)),
        ("212x4:30+24", Coding(212, 4, 30, 24)),
    ],
)
def test_formats(field, expected):
    assert parse_signal(LINE.replace(" 16 ", f" {field} ", 1)).coding == expected


@pytest.mark.parametrize("field", ["x", "16x0", "16x-1", "16:-3", "16+", "16+24x2", "1.6", "-16"])
def test_formats_gone_wrong(field):
    with pytest.raises(DataError, match=r"the format must be like 16, 16x2 or 16\+24, got"):
        parse_signal(LINE.replace(" 16 ", f" {field} ", 1))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("1000.0(0)/mV", Scale(1000, 0, "mV", "")),
        ("1000/mV", Scale(1000, 9, "mV", "")),  # the zero of the converter
        ("0.25(-7)/uV", Scale(0.25, -7, "uV", "")),
        ("200", Scale(200, 9, "mV", "")),
        ("200(0)", Scale(200, 0, "mV", "")),
        ("2e2(0)/V", Scale(200, 0, "V", "")),
        ("-200(3)/mV", Scale(-200, 3, "mV", "")),  # legal: an inverted signal
        ("0/mV", Scale(200, 9, "mV", "gain 0 in the header")),
        ("0(4)/uV", Scale(200, 4, "uV", "gain 0 in the header")),
        ("0", Scale(200, 9, "mV", "gain 0 in the header")),
        ("1000(0)/µV", Scale(1000, 0, "\u00b5V", "")),
        ("1000(0)/\u03bcV", Scale(1000, 0, "\u03bcV", "")),
    ],
)
def test_gains(field, expected):
    assert parse_signal(f"r.dat 16 {field} 16 9 -5 77 0 V6").scale[:4] == expected[:4]


BAD_GAINS = "nan inf -inf/mV nan(0)/mV 1e400/mV 1,000/mV 1000(0/mV 1000(x)/mV /mV 0x10 --1"


@pytest.mark.parametrize("field", BAD_GAINS.split())
@pytest.mark.parametrize("rest", [" 16 9 -5 77 0 V6", ""])
def test_gains_gone_wrong(field, rest):
    with pytest.raises(DataError, match=r"the gain must be a finite number, .* got '.*', in the line 'r\.dat 16 "):
        parse_signal(f"r.dat 16 {field}{rest}")


@pytest.mark.parametrize("field", ["1.5", "-", "1e3", "(0)"])
@pytest.mark.parametrize("position", range(3, 8))
def test_integers_gone_wrong(field, position):
    fields = LINE.split()
    fields[position] = field
    with pytest.raises(DataError, match="expected a whole number, got"):
        parse_signal(" ".join(fields))


@pytest.mark.parametrize("name", ["../r.dat", "/dev/zero", "below/r.dat", "a\\b.dat", "C:\\r.dat", "..", "."])
def test_files_lie_in_the_records_own_folder(name):
    for lines in (("r 1 100 50", LINE.replace("r.dat", name)), ("r/1 1 100 50", f"{name} 50")):
        with pytest.raises(DataError, match="a file must lie in the record's own folder, got"):
            parse(*lines)


# --- the text


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r", b"\n\n", b" \t\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n# comment\n", b"  # comment\n"])
def test_line_ends_comments_and_byte_order_mark(start, ends):
    data = start + b"r 1 100 50\n" + LINE.encode() + b"\n#Age: 56\n# 2 100 3\n\x1a"
    assert parse_header(data.replace(b"\n", ends), "r.hea") == parse()


@pytest.mark.parametrize(
    ("line", "comment", "unit"),
    [
        (LINE.replace("mV", "µV").encode("latin-1"), b"# Gr\xf6\xdfe", "\u00b5V"),
        (LINE.replace("mV", "µV").encode(), b"# Gr\xf6\xdfe \x85 r.dat 16", "\u00b5V"),  # each line for itself
        (LINE.replace("mV", "\u03bcV").encode(), "# Größe \u2028 r.dat 16".encode(), "\u03bcV"),
    ],
)
def test_utf_8_and_latin_1(line, comment, unit):
    assert parse_header(b"\n".join([b"r 1 100 50", line, comment]), "r.hea").signals[0].scale.unit == unit


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"", "no record line"), (b"# 1\n\n", "no record line"), (b"r 1\0", "binary"), ("r 1".encode("utf-16"), "binary")],
)
def test_what_is_not_a_header(data, match):
    with pytest.raises(DataError, match=rf"r\.hea: not a WFDB header \(.*{match}"):
        parse_header(data, "r.hea")


def test_what_a_header_says_never_breaks_the_line_of_an_error():
    for mark in ("\x1b[31m", "\x85", "\u2028", "\u202e", "\xa0", "\t", "\x0b"):
        header = parse("r 1 100 50", f"r.dat 16 1000/mV 16 0 0 0 0 V1{mark}V2")
        assert header.signals[0].name.isprintable() and header.signals[0].name.startswith("V1 ")
