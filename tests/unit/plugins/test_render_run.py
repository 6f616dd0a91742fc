from __future__ import annotations

from pathlib import Path

from action import compare_run, render_run

from tests.unit.plugins import run_folders

PASSED = """\
Run 20261123T120000Z (embedded, 2026-11-23 12:00:00 UTC; ansible 2.19.14, python 3.11.7, udpxfer 0.1.0)

mode           seconds  image       server    bytes  MB/s  resent  verified
-------------  -------  ----------  --------  -----  ----  ------  --------
single_thread    0.250  image1.jpg  alpine-1      5   0.0       0  yes
                        image2.png  alpine-3     12   0.0       0  yes
multi_thread     0.250  image1.jpg  alpine-1      5   0.0       0  yes
                        image2.png  alpine-3     12   0.0       0  yes

Verdict: PASSED, 4 of 4 transfers verified
Results: results/run"""


def rendered(folder: Path) -> str:
    return render_run.render(compare_run.compare(folder), Path("results/run"))


def test_a_run_that_passed(tmp_path: Path) -> None:
    assert rendered(run_folders.make_run(tmp_path)) == PASSED


def test_a_run_that_failed_shows_which_and_why(tmp_path: Path) -> None:
    run = run_folders.make_run(tmp_path)
    (run / "received/alpine-3/multi_thread/image2.png").unlink()
    (run / "logs/alpine-2/single_thread.json").unlink()
    lines = rendered(run).splitlines()
    assert "single_thread        -  image1.jpg  alpine-1      -     -       -  NO" in lines
    assert "                        image2.png  alpine-3     12   0.0       0  NO" in lines
    assert "Verdict: FAILED, 1 of 4 transfers verified" in lines
    assert sum(line.startswith("  - ") for line in lines) == 2
