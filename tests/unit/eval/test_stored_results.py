from eval.stored_results import ResultLog


def never() -> dict[str, float]:
    raise AssertionError("measured again")


def test_a_second_run_reads_what_the_first_wrote(tmp_path):
    path = tmp_path / "out" / "dubs.jsonl"
    assert ResultLog(path).get("a", "one says two", lambda: {"opening": 0.25}) == {"opening": 0.25}
    again = ResultLog(path)
    assert again.get("a", "one says two", never) == {"opening": 0.25}
    assert again.get("b", "two says three", lambda: {"opening": 0.5}) == {"opening": 0.5}


def test_a_line_cut_off_is_measured_again_and_harms_no_other(tmp_path):
    path = tmp_path / "dubs.jsonl"
    ResultLog(path).get("a", "", lambda: {"opening": 0.25})
    whole = path.read_text()
    path.write_text(whole + whole.replace('"a"', '"b"')[:-8])
    pairs = ResultLog(path)
    assert pairs.get("a", "", never) == {"opening": 0.25}
    assert pairs.get("b", "", lambda: {"opening": 0.75}) == {"opening": 0.75}
    last = ResultLog(path)
    assert last.get("a", "", never) == {"opening": 0.25}
    assert last.get("b", "", never) == {"opening": 0.75}
