"""Debian's cloud kernels, each with an initramfs that boots into this machine's own root."""

import gzip
import lzma
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .suites import Suite

INSIDE = Path(__file__).with_name("inside")
# the metapackage linux-image-cloud-amd64 depends on the newest of these; flavours and debug symbols have more to their names
PACKAGE = r"linux-image-\d[\w.+]*(-\d+)?-cloud-amd64"
NEEDED = ("virtio_pci", "virtiofs", "overlay", "virtio_console")  # for root and agent; what else the kernel wants it finds there
BUSYBOX = Path("/usr/bin/busybox")


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    suite: str
    package: str
    version: str  # of the package
    tree: Path

    @classmethod
    def of(cls, suite: Suite) -> "Kernel":
        """Get the newest cloud kernel of a suite and unpack it. Raises SuiteError where it is not to be had."""
        package = suite.newest(PACKAGE)
        file = suite.download(package)
        tree = file.with_suffix("")
        if not (tree / "ready").exists():
            tree.mkdir(exist_ok=True)
            subprocess.run(["dpkg-deb", "--extract", str(file), str(tree)], check=True)
            kernel = cls(suite.name, package, suite.version(package), tree)
            subprocess.run(["depmod", "--basedir", str(kernel._base), kernel.release], check=True)
            (tree / "ready").touch()
        return cls(suite.name, package, suite.version(package), tree)

    @property
    def image(self) -> Path:
        return next((self.tree / "boot").glob("vmlinuz-*"))

    @property
    def release(self) -> str:
        """Return what `uname -r` says."""
        return self.image.name.removeprefix("vmlinuz-")

    @property
    def modules(self) -> Path:
        return self._base / "lib/modules" / self.release

    @property
    def _modprobe(self) -> list[str]:
        return ["modprobe", "--dirname", str(self._base), "--set-version", self.release]

    @property
    def _base(self) -> Path:
        """Where `lib/modules` is: newer packages have it below /usr."""
        return self.tree if (self.tree / "lib/modules").is_dir() else self.tree / "usr"

    def has(self, module: str) -> bool:
        """Tell whether it has a module, built in or to be loaded."""
        return subprocess.run([*self._modprobe, "--dry-run", "--quiet", module], check=False).returncode == 0

    def initramfs(self) -> bytes:
        """Return the initramfs: busybox, what the root needs of the modules, and the programs of `inside`."""
        files = {
            "init": (0o755, (INSIDE / "init").read_bytes()),
            "agent.py": (0o644, (INSIDE / "agent.py").read_bytes()),
            "bin/busybox": (0o755, BUSYBOX.read_bytes()),
            "modules-of-the-host": (0o644, str(self.modules.absolute()).encode()),
            "python": (0o644, str(Path(sys.executable).resolve()).encode()),
        }
        for number, module in enumerate(self._to_load()):
            files[f"modules/{number:03}-{module.name.partition('.')[0]}.ko"] = (0o644, unpacked(module))
        directories = ["bin", "dev", "modules", "new", "out", "proc", "ro", "rw", "sys"]
        return gzip.compress(b"".join(newc(directories, files)), 1)

    def _to_load(self) -> list[Path]:
        """Return the files of the modules in the order in which they are loaded, each once; what is built in has none."""
        files = []
        for name in NEEDED:
            done = subprocess.run([*self._modprobe, "--show-depends", name], capture_output=True, text=True, check=True)
            files += [line.split()[1] for line in done.stdout.splitlines() if line.startswith("insmod ")]
        return [Path(file) for file in dict.fromkeys(files)]


def unpacked(module: Path) -> bytes:
    """Return a module as the kernel takes it. Raises ValueError for a compression that no suite had."""
    packed = module.read_bytes()
    if module.suffix == ".ko":
        return packed
    if module.suffix == ".xz":
        return lzma.decompress(packed)
    raise ValueError(f"{module.name}: modules are packed in another way than plain or xz")


def newc(directories: list[str], files: dict[str, tuple[int, bytes]]) -> Iterator[bytes]:
    """Give a cpio archive piece by piece, as the kernel unpacks it (its Documentation/driver-api/early-userspace/buffer-format.rst)."""
    entries = [(name, 0o040755, b"") for name in directories]
    entries += [(name, 0o100000 | mode, content) for name, (mode, content) in files.items()]
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        yield head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
