"""The start page: what this is, what it holds, the latest studies.

Everything from a data set is hostile until escaped; the page may load nothing but our pictures, and run nothing
(Content-Security-Policy).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from imagerepo.model.query import StudyRow
from imagerepo.ports.index import Holdings

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid #8884;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
td.p{width:64px}td.p img{display:block;max-width:64px;max-height:64px;background:#000}
.muted{opacity:.7}.flag{color:#b00020}
"""
CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Links:
    """What stands before the path of each link: '', unless a balancer offers us elsewhere."""

    root: str  # of what all institutions share
    base: str  # of the caller's institution


def render_start(institution: str, links: Links, holdings: Holdings | None, studies: Sequence[StudyRow]) -> str:
    """The page of one institution.

    Args:
        institution: the caller's.
        links: where links lead.
        holdings: what it has; None if nothing yet.
        studies: the latest ones.
    """
    title = f"imagerepo · {institution}"
    return _page(title, _counts(institution, holdings) + _studies(links.base, studies) + _uses(links))


def render_choice(institutions: Sequence[str], root: str) -> str:
    """The page of callers who may see several institutions and named none."""
    base = escape(f"{root}/institutions/")
    links = "".join(f'<li><a href="{base}{escape(one)}/">{escape(one)}</a></li>' for one in institutions)
    return _page("imagerepo", f"<h2>Institutions</h2><ul>{links}</ul>")


def _page(title: str, content: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        '<p class="muted">A medical imaging repository: DICOM in, DICOMweb and DIMSE out.</p>'
        f"{content}</body></html>"
    )


def _counts(institution: str, holdings: Holdings | None) -> str:
    if holdings is None:
        return f"<p>Institution <b>{escape(institution)}</b> has stored nothing yet.</p>"
    size = sum(holdings.bytes_by_tier.values())
    return (
        f"<p>Institution <b>{escape(institution)}</b> holds {holdings.studies:,} studies, {holdings.series:,} series, "
        f"{holdings.instances:,} instances: {_human(size)}.</p>"
    )


def _human(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _studies(prefix: str, studies: Sequence[StudyRow]) -> str:
    if not studies:
        return ""
    head = "".join(f"<th>{name}</th>" for name in ("", "Date", "Patient", "Description", "Modalities", "Images", ""))
    rows = "".join(_row(prefix, study) for study in studies)
    return f"<h2>Latest studies</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(prefix: str, study: StudyRow) -> str:
    metadata = escape(f"{prefix}/dicom-web/studies/{study.uid}/metadata")
    archive = escape(f"{prefix}/study/{study.uid}")
    # Without an image there is no picture, and an empty alternative text leaves the cell empty.
    picture = escape(f"{prefix}/dicom-web/studies/{study.uid}/thumbnail?viewport=")
    flag = ' <span class="flag">patient attributes disagree</span>' if study.patient_differs else ""
    return (
        f'<tr><td class="p"><a href="{picture}1024,1024">'
        f'<img src="{picture}64,64" loading="lazy" alt=""></a></td>'
        f"<td>{escape(_date(study.date))}</td>"
        f'<td>{escape(study.patient_name)}<br><span class="muted">{escape(study.patient_id)}</span>{flag}</td>'
        f"<td>{escape(study.description)}<br><code>{escape(study.uid)}</code></td>"
        f"<td>{escape(', '.join(study.modalities))}</td>"
        f'<td class="n">{study.instance_count:,}</td>'
        f'<td><a href="{metadata}">metadata</a> <a href="{archive}">zip</a></td></tr>'
    )


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text


def _uses(links: Links) -> str:
    root, base = escape(links.root), escape(links.base)
    return (
        "<h2>What to try</h2><ul>"
        f'<li>search: <a href="{base}/dicom-web/studies?limit=20"><code>{base}/dicom-web/studies</code></a></li>'
        f"<li>store: <code>POST {base}/dicom-web/studies</code>, or C-STORE</li>"
        f"<li>fetch: <code>{base}/image/{{SOP Instance UID}}</code>, "
        f"<code>{base}/series/{{Series Instance UID}}</code></li>"
        f'<li>health: <a href="{root}/readyz">{root}/readyz</a>, <a href="{root}/metrics">{root}/metrics</a></li></ul>'
    )
