"""What the command line says: sentences."""

import subprocess
import sys
from pathlib import Path

import pytest

from imagerepo.cli.serve import greeting
from imagerepo.processes.serve import Addresses
from tests.harness.server import COMMAND


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "--nope"), "imagerepo: No such option: --nope; `imagerepo serve --help` tells what there is"),
        ((), "imagerepo: Missing command; `imagerepo --help` tells what there is"),
        (("audit",), "imagerepo: Missing command; `imagerepo audit --help` tells what there is"),
        (("nod",), "imagerepo: No such command 'nod'. Did you mean 'node'? `imagerepo --help` tells what there is"),
        (("unheard-of",), "imagerepo: No such command 'unheard-of'; `imagerepo --help` tells what there is"),
        (("serve", "extra"), "imagerepo: Got unexpected extra argument(s) (extra); `imagerepo serve --help` tells"),
        (("serve", "--workers", "x"), "imagerepo: Invalid value for '--workers': "),
        (("audit", "verify", "--data"), "imagerepo: Option '--data' requires an argument; `imagerepo "),
        (("serve", "--workers", "1000"), "imagerepo: settings: workers: "),
    ],
)
def test_a_mistake_is_one_plain_sentence(arguments: tuple[str, ...], said: str) -> None:
    status, out, error = run(*arguments)
    assert (status, out) == (1, "")
    assert error.startswith(said)
    assert error.count("\n") == 1
    assert error.isascii()


@pytest.mark.parametrize("arguments", [("--help",), ("audit", "--help"), ("serve", "--help")])
def test_help_is_no_mistake(arguments: tuple[str, ...]) -> None:
    status, out, error = run(*arguments)
    assert (status, error) == (0, "")
    assert "Usage: imagerepo" in out


def test_a_reader_that_leaves_is_no_mistake(tmp_path: Path) -> None:
    done = subprocess.run(f"{COMMAND} --help | true", shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("listening", "url", "peer"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080", "127.0.0.1 11112"),
        ("0.0.0.0", "http://127.0.0.1:8080", "127.0.0.1 11112"),
        ("::", "http://[::1]:8080", "::1 11112"),
        ("::1", "http://[::1]:8080", "::1 11112"),
        ("10.0.0.5", "http://10.0.0.5:8080", "10.0.0.5 11112"),
        ("fd00::5", "http://[fd00::5]:8080", "fd00::5 11112"),
    ],
)
def test_the_greeting_names_addresses_that_can_be_used(listening: str, url: str, peer: str) -> None:
    said = greeting(Addresses((listening, 8080), (listening, 11112)), "IMAGEREPO", Path("data"))
    assert f"pages      {url}/\n" in said
    assert f"curl {url}/dicom-web/studies" in said
    assert f"storescu -v -aec IMAGEREPO {peer} FILE.dcm" in said
    assert ":::" not in said


def test_a_command_imports_nothing_that_only_others_need() -> None:
    program = (
        "import sys; from imagerepo.cli.main import command_line; command_line(['tasks']); "
        "print({'pydicom', 'pynetdicom', 'rich.progress'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
