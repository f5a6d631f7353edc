"""What people read."""

from memsample_fleet import text


def test_the_end_of_an_output_is_one_line_that_says_that_it_was_cut() -> None:
    assert text.printable("one\n\n  two\tthree\n", 300) == "one; two three"
    assert text.printable("\x1b[31mred\0", 300) == "\ufffd[31mred\ufffd"
    flood = text.printable("flood\n" * 1000 + "the reason\n", 30)
    assert flood.startswith("... ")
    assert flood.endswith("flood; the reason")
    assert len(flood) == 30
