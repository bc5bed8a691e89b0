"""The keepalived process of our job: start it, stop it, tell it of new peers."""

import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from vrrp_drain.config.model import Config
from vrrp_drain.linux import proc_connector
from vrrp_drain.linux.process import pidfd, running
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime import files
from vrrp_drain.runtime.errors import ConfigError, SystemFault, what_happened
from vrrp_drain.runtime.ip import IPAddress
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp.bands import Band

from . import attachment, checks, conf
from .attachment import Attachment
from .track_files import TrackFiles

_CHECK_SECONDS = 15.0
_START_SECONDS = 15.0
_STOP_SECONDS = 25.0  # as the upstream job's keepalived_ctl


class Daemon:
    """Starts and stops the job's keepalived, for monit."""

    def __init__(
        self,
        paths: Paths,
        log: Callable[[str], None],
        guarded: Callable[[], Collection[int]],
        members: Callable[[], Collection[IPAddress]] = tuple,
    ) -> None:
        """``guarded`` tells in which IP versions the vrrp-drain job's rules keep adverts of others out, ``members`` whom they let in.

        Both may raise SystemFault.
        """
        self._paths, self._members = paths, members
        self._guarded = guarded
        self._log = log
        self.pid_file = paths.keepalived_pid_file
        self.track_files = TrackFiles(paths.keepalived_run)

    def start(self, config: Config, netlink: Netlink) -> None:
        """Write keepalived.conf, have keepalived check it, and start it in the background.

        Raises ConfigError or SystemFault; a keepalived that runs already is left alone.
        """
        pid = running(self.pid_file)
        if pid is not None:
            self._log(f"keepalived runs already (pid {pid})")
            return
        where = attachment.find(config, netlink)
        path = self._paths.keepalived_conf
        try:
            files.replace(path, self._render(config, where, netlink), mode=0o600)  # there may be a password in it
            for pid_file in (self.pid_file, self._vrrp_pid_file):
                files.remove(pid_file)
        except OSError as error:
            raise SystemFault(f"cannot write {error.filename}: {error.strerror}") from error
        self._check(path)
        self._ensure_band()
        process = self._spawn(path)
        self._wait_until_ready(process)
        self._log(
            f"keepalived started for {config.vip} on {where.vip_interface} (pid {process.pid}, priority {config.keepalived.priority})"
        )

    def reload(self, config: Config, netlink: Netlink) -> None:
        """Have a keepalived that runs send its adverts to the peers that are known now. A MASTER stays MASTER across that.

        Raises ConfigError or SystemFault; keepalived goes on as before then.
        """
        fd = pidfd(self.pid_file)
        if fd is None:
            return
        try:
            text = self._render(config, attachment.find(config, netlink), netlink)
            if files.read_text(self._paths.keepalived_conf) == text:
                return
            tried = self._paths.keepalived_conf.with_name("keepalived.conf.new")
            files.replace(tried, text, mode=0o600)
            self._check(tried)
            tried.replace(self._paths.keepalived_conf)
            signal.pidfd_send_signal(fd, signal.SIGHUP)
        except (OSError, UnicodeDecodeError) as error:
            raise SystemFault(f"cannot have keepalived advert to new peers: {what_happened(error)}") from error
        finally:
            os.close(fd)
        self._log("keepalived was told to advert to the peers that are known now")

    def _render(self, config: Config, where: Attachment, netlink: Netlink) -> str:
        """Return keepalived.conf, whose adverts go to everybody who is known."""
        filtered = self._filtered(config)
        known = self._members() if filtered else ()
        return conf.render(
            config,
            replace(where, peers=attachment.unicast_peers(config, where, known, netlink.addresses())),
            self._track_files,
            process_events=self._process_events(config),
            filtered=filtered,
            locate=checks.located,
        )

    def stop(self, config: Config, netlink: Netlink) -> None:
        """Stop keepalived; it resigns and takes the VIP away. One that hangs is killed, and the VIP taken away by us."""
        pid, fd = running(self.pid_file), pidfd(self.pid_file)
        if pid is not None and fd is not None:
            signal.pidfd_send_signal(fd, signal.SIGTERM)
            ended, _, _ = select.select([fd], [], [], _STOP_SECONDS)
            if not ended:
                self._log(f"keepalived (pid {pid}) did not end within {_STOP_SECONDS:g} s of SIGTERM: killing it")
                os.killpg(pid, signal.SIGKILL)
                select.select([fd], [], [], _STOP_SECONDS)
            os.close(fd)
        try:
            files.remove(self.pid_file)
        except OSError as error:
            self._log(f"{self.pid_file} stays: {error.strerror}")
        self._log("keepalived stopped")
        try:
            below = netlink.interface_for(config.vip, config.keepalived.interface)
        except ConfigError:
            return  # the interface went, and a VIP on it
        for address in config.keepalived.addresses:
            interface = attachment.interface_of(address, config, below)
            if netlink.has_address(interface, address):
                self._log(f"{address} was still on {interface} after keepalived had ended: taking it off")
                netlink.remove_address(interface, address)

    def _process_events(self, config: Config) -> bool:
        """Tell whether track_process can be left to the kernel, and log it where it cannot."""
        if config.keepalived.track_process is None:
            return False
        if reason := proc_connector.available():
            self._log(
                f"keepalived.track_process: the kernel does not report here which processes end ({reason}); "
                f"{config.keepalived.track_process} is looked for every second instead"
            )
            return False
        return True

    def _filtered(self, config: Config) -> bool:
        """Tell whether the rules that keep adverts of others from keepalived are there, and log which it is."""
        try:
            lack = "" if config.vip.version in self._guarded() else "vrrp-drain has not installed its rules"
        except SystemFault as error:
            lack = str(error)
        if lack:
            self._log(f"keepalived hears whoever sends adverts with its VRID ({lack}); of unicast it checks the source itself")
        return not lack

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """The pid file is the only sign that keepalived gives; one that never writes it is ended."""
        deadline = time.monotonic() + _START_SECONDS
        while running(self.pid_file) != process.pid:
            if process.poll() is not None:
                raise SystemFault(f"keepalived ended at once with status {process.returncode}: see {self._paths.keepalived_log}")
            if time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise SystemFault(f"keepalived wrote no {self.pid_file} within {_START_SECONDS:g} s: see {self._paths.keepalived_log}")
            time.sleep(0.02)

    @property
    def _vrrp_pid_file(self) -> Path:
        return self._paths.keepalived_run / "vrrp.pid"

    @property
    def _track_files(self) -> dict[str, Path]:
        return {"vrrp_drain": self.track_files.path, "vrrp_drain_health": self.track_files.health_path}

    def _ensure_band(self) -> None:
        """Without a band, or with a damaged one (a reboot, a full disk), write the one to start in.

        Where the vrrp-drain job is here too, that is the draining one: its watcher promotes when haproxy answers.
        """
        start = Band.DRAINING if self._paths.drain_config.exists() else Band.ACTIVE
        try:
            band = self.track_files.read()
        except SystemFault as error:
            self._log(f"{error}: writing {start}")
            band = None
        if band is None:
            self.track_files.write(start)
        if files.changed_at(self.track_files.health_path) is None:
            self.track_files.mark(unhealthy=False)

    def _check(self, path: Path) -> None:
        """Have keepalived read the configuration (keepalived -t), before anything depends on it."""
        command = [str(self._paths.keepalived_binary), "--config-test", "--use-file", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_CHECK_SECONDS, check=False)
        except OSError as error:
            raise SystemFault(f"cannot run {command[0]}: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise SystemFault(f"keepalived did not check {path} within {_CHECK_SECONDS:g} s") from None
        if done.returncode != 0:
            said = "; ".join((done.stdout + done.stderr).split("\n")).strip("; ")
            raise SystemFault(f"keepalived refuses {path} (status {done.returncode}): {said}")
        for each in checks.not_executable(files.read_text(path)):
            raise SystemFault(f"keepalived would disable its check {each.name} ({each.command}): {each.why}; {each.mend}")

    def _spawn(self, path: Path) -> subprocess.Popen[bytes]:
        """Start keepalived detached: a session of its own, and nothing of ours inherited but the log."""
        command = [
            str(self._paths.keepalived_binary),
            *("--dont-fork", "--log-console", "--log-detail", "--no-syslog"),
            *("--use-file", str(path), "--pid", str(self.pid_file), "--vrrp_pid", str(self._vrrp_pid_file)),
        ]
        log = self._open_log()
        try:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True)
        except OSError as error:
            reason = error.strerror if error.errno != errno.ENOENT else "not found"
            raise SystemFault(f"cannot start {command[0]}: {reason}") from error
        finally:
            os.close(log)

    def _open_log(self) -> int:
        """Return where keepalived writes its log: a VIP without one is better than none."""
        path = self._paths.keepalived_log
        try:
            log, removed = files.open_to_append(path)
        except OSError as error:
            self._log(f"keepalived keeps no log: {path}: {error.strerror}")
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        if removed:
            self._log(f"{path} was no log of keepalived's ({removed}): removed, this one begins anew")
        return log
