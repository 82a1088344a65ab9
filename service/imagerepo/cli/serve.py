"""`imagerepo serve`: the repository, embedded."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from imagerepo.errors import ForbiddenError
from imagerepo.processes import logs
from imagerepo.processes import serve as process
from imagerepo.processes.serve import Addresses
from imagerepo.settings import load

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a name, nothing is bound here


def serve(
    data: Annotated[Path | None, typer.Option(help="Data folder.", show_default="data")] = None,
    listen: Annotated[str | None, typer.Option(help="HTTP address.", show_default="127.0.0.1:8080")] = None,
    dicom_listen: Annotated[str | None, typer.Option(help="DIMSE address.", show_default="127.0.0.1:11112")] = None,
    ae_title: Annotated[str | None, typer.Option(help="Our AE title.", show_default="IMAGEREPO")] = None,
    workers: Annotated[
        int | None, typer.Option(help="HTTP processes, and as many for DIMSE.", show_default="cores")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML).", envvar="IMAGEREPO_CONFIG")] = None,
    *,
    samples: Annotated[bool, typer.Option("--samples", help="Load pydicom's bundled test files.")] = False,
) -> None:
    """Serve DICOM: DIMSE and DICOMweb, from one data folder."""
    logs.begin()
    flags = {
        "data": data, "listen": listen, "dicom_listen": dicom_listen, "ae_title": ae_title, "workers": workers,
    }  # fmt: skip
    settings = load(config, flags)

    def ready(where: Addresses) -> None:
        typer.echo(greeting(where, settings.ae_title, settings.data))
        if samples:
            threading.Thread(target=_load_samples, args=(where,), daemon=True).start()

    process.serve(settings, config.absolute() if config else None, ready)


def _load_samples(where: Addresses) -> None:
    # It takes a second, and few want them.
    from imagerepo.cli import samples as sample_files  # noqa: PLC0415

    try:
        stored, refused = sample_files.send((_reached(where.http[0]), where.http[1]))
    except ForbiddenError as error:
        typer.echo(f"samples: {error}")
    else:
        typer.echo(f"samples: {stored} files stored, {refused} refused (pydicom bundles broken files too)")


def _reached(host: str) -> str:
    """An address under which this machine reaches a server that listens on `host`."""
    return _LOOPBACK.get(host, host)


def _at(address: tuple[str, int]) -> str:
    host, port = _reached(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def greeting(where: Addresses, ae_title: str, data: Path) -> str:
    """What is printed once everything answers."""
    url = f"http://{_at(where.http)}"
    host, port = _reached(where.dimse[0]), where.dimse[1]
    over_tls = [
        f"  {what}{_at(address)}{after}\n"
        for what, address, after in (
            ("HTTPS      https://", where.https, "/"),
            (f"DICOM TLS  {ae_title} at ", where.dimse_tls, ""),
        )
        if address is not None
    ]
    return f"""
imagerepo is ready; data in {data.absolute()}

  pages      {url}/
  DICOMweb   {url}/dicom-web
  DIMSE      {ae_title} at {_at(where.dimse)}
{"".join(over_tls)}  metrics    {url}/metrics

Try next, in another terminal:
  storescu -v -aec {ae_title} {host} {port} FILE.dcm           send a file (dcmtk)
  curl {url}/dicom-web/studies                    search
  curl {url}/dicom-web/studies/UID/metadata       read headers
  curl -O {url}/image/UID                         fetch an instance

Stop with Ctrl-C: what is under way is finished first.
"""
