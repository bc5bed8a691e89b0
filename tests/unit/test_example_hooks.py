"""The hooks that the release brings, run as the watcher runs them, against a stand-in for the cloud."""

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs

import pytest

from unit.support.receiver import Manner, Server, answer, certificate, serving
from unit.support.samples import MOVED
from vrrp_drain.config.receivers import Hook
from vrrp_drain.notify.delivery import Message, Refused
from vrrp_drain.notify.hook import HookDelivery
from vrrp_drain.notify.notice import Kind, Notice

HOOKS = Path(__file__).resolve().parents[2] / "src/hooks"
ROLE = {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "secret", "Token": "session"}
METADATA = ["token", "eu-central-1", "a-role\n", json.dumps(ROLE), "02:00:00:00:00:01", "eni-1"]


def run(name: str, environment: Mapping[str, str], notice: Notice = MOVED) -> None:
    given = (f"{key}={value}" for key, value in environment.items())
    HookDelivery(Hook(("/usr/bin/env", *given, str(HOOKS / name)), 60)).send(Message(notice))


def metadata() -> list[Manner]:
    return [answer(200, body=text.encode()) for text in METADATA]


def ec2(server: Server, api: Server) -> dict[str, str]:
    return {"ALLOCATION_ID": "eipalloc-1", "METADATA": server.url("").rstrip("/"), "EC2_ENDPOINT": api.url()}


def test_an_elastic_ip_comes_here() -> None:
    """The instance's own role signs one AssociateAddress for the instance's own interface."""
    with serving(*metadata()) as imds, serving(answer(200)) as api:
        run("move-elastic-ip", ec2(imds, api))
        asked = imds.take(6)
        (request,) = api.take(1)
    assert [each.target for each in asked] == [
        "/latest/api/token",
        "/latest/meta-data/placement/region",
        "/latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/iam/security-credentials/a-role",
        "/latest/meta-data/mac",
        "/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/interface-id",
    ]
    assert asked[0].method == "PUT"
    assert {each.headers["x-aws-ec2-metadata-token"] for each in asked[1:]} == {"token"}
    assert {name: value for name, (value,) in parse_qs(request.body.decode()).items()} == {
        "Action": "AssociateAddress",
        "Version": "2016-11-15",
        "AllowReassociation": "true",
        "AllocationId": "eipalloc-1",
        "NetworkInterfaceId": "eni-1",
    }
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert (
        "/eu-central-1/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,"
        in (request.headers["authorization"])
    )
    assert request.headers["x-amz-security-token"] == "session"


def test_an_elastic_ip_is_asked_for_again() -> None:
    """An API that fails in passing is asked again."""
    with serving(*metadata(), *metadata()) as imds, serving(answer(503), answer(200)) as api:
        run("move-elastic-ip", ec2(imds, api))
        assert [each.method for each in api.take(2)] == ["POST", "POST"]


def test_an_elastic_ip_that_we_may_not_move() -> None:
    """What the API says is told, and the credentials are not; nor does a redirect lead them elsewhere."""
    refusal = b"<Error><Code>UnauthorizedOperation</Code></Error>"
    with (
        serving(*metadata()) as imds,
        serving(answer(403, body=refusal)) as api,
        pytest.raises(Refused, match=r"answers with status 403: <Error><Code>UnauthorizedOperation") as said,
    ):
        run("move-elastic-ip", ec2(imds, api))
    assert "secret" not in str(said.value)
    with (
        serving() as elsewhere,
        serving(answer(302, f"Location: {elsewhere.url()}")) as imds,
        pytest.raises(Refused, match="answers with status 302"),
    ):
        run("move-elastic-ip", ec2(imds, imds))
    assert elsewhere.requests.empty()
    with pytest.raises(Refused, match="ALLOCATION_ID must name the elastic IP"):
        run("move-elastic-ip", {})


@pytest.fixture(scope="module")
def elastic_ip() -> ModuleType:
    spec = spec_from_loader("move_elastic_ip", SourceFileLoader("move_elastic_ip", str(HOOKS / "move-elastic-ip")))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("method", "headers", "body", "signature"),
    [
        ("GET", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "POST",
            {"content-type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
    ids=["get-vanilla", "post-vanilla", "post-x-www-form-urlencoded"],
)
def test_signature_version_4(elastic_ip: ModuleType, method: str, headers: dict[str, str], body: bytes, signature: str) -> None:
    """The signatures are those of AWS's published test suite."""
    given = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", **headers}
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    found = elastic_ip.signed(given, secret, "AKIDEXAMPLE", "us-east-1", "service", method, "/", body)
    assert found.endswith(f"Signature={signature}")


def test_an_sdn_is_told(tmp_path: Path) -> None:
    """The API hears once where the VIP is, over TLS with a CA of its own, with a token that is on no command line."""
    made = certificate(tmp_path, "IP:127.0.0.1")
    (tmp_path / "ca").write_text(made.pem)
    (tmp_path / "token").write_text("secret\n")
    with serving(tls=made.context) as api:
        files = {"SDN_TOKEN_FILE": str(tmp_path / "token"), "SDN_CA_FILE": str(tmp_path / "ca")}
        run("tell-sdn", {"SDN_URL": api.url("/routes/{vip}?prefix=32"), **files})
        (request,) = api.take(1)
    assert (request.method, request.target) == ("PUT", "/routes/10.0.0.10?prefix=32")
    assert request.json == {"address": "10.0.0.10", "next_hop": "10.0.0.1"}
    assert (request.headers["authorization"], request.headers["content-type"]) == ("Bearer secret", "application/json")


def test_an_sdn_that_fails_in_passing() -> None:
    """It is told again; where no token is given none is sent."""
    with serving(answer(503), answer(204)) as api:
        run("tell-sdn", {"SDN_URL": api.url()})
        assert ["authorization" in each.headers for each in api.take(2)] == [False, False]


def test_an_sdn_that_refuses(tmp_path: Path) -> None:
    """The status is told, the token is not; nor is a redirect followed."""
    (tmp_path / "token").write_text("secret")
    with serving() as elsewhere, serving(answer(403), answer(302, f"Location: {elsewhere.url()}")) as api:
        with pytest.raises(Refused, match="403") as said:
            run("tell-sdn", {"SDN_URL": api.url(), "SDN_TOKEN_FILE": str(tmp_path / "token")})
        assert "secret" not in str(said.value)
        with pytest.raises(Refused, match="the SDN answers with status 302, and redirects are not followed"):
            run("tell-sdn", {"SDN_URL": api.url()})
        assert elsewhere.requests.empty()
    with pytest.raises(Refused, match="SDN_URL: must be the address"):
        run("tell-sdn", {})


@pytest.mark.parametrize("name", ["move-elastic-ip", "tell-sdn"])
@pytest.mark.parametrize(
    "notice",
    [replace(MOVED, state="backup"), replace(MOVED, kind=Kind.MASTER_MOVED), replace(MOVED, kind=Kind.TWO_MASTERS, state="on")],
    ids=["backup", "another master", "two masters"],
)
def test_only_a_master_acts(name: str, notice: Notice) -> None:
    """For every other notice a hook does nothing, and does it well."""
    with serving() as cloud:
        run(name, {"SDN_URL": cloud.url(), **ec2(cloud, cloud)}, notice)
        assert cloud.requests.empty()
