"""Pre-signed links in the hands of somebody who wants more than was signed: each attempt is refused in the words of S3,
and nothing is written.

The links are signed here, by the text of "Authenticating Requests: Using Query Parameters" of the S3 API reference, so
that every part of them can be what no SDK would make it.
"""

import base64
import datetime
import hashlib
import hmac
import socket
from urllib.parse import quote, urlsplit

import pytest
import requests
from botocore.auth import HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import KEY, REGION, SECRET, TARGET, make_client
from test_s3 import code_of

pytestmark = pytest.mark.skipif(TARGET == "moto", reason="moto does not check signatures")
DATA = b"exactly these bytes"
SHA256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
MIB = 1 << 20


def encode(text):
    return quote(text, safe="-_.~")


class Links:
    """Signs links to keys of one bucket, and looks at what they left there."""

    def __init__(self, url, bucket):
        self.url, self.bucket = url, bucket
        self.host = urlsplit(url).netloc
        self.s3 = make_client("s3", url)

    def sign(self, method="PUT", key="mine", *, headers=None, query=(), age=0, expires=900, scope="s3", then=()):
        """A link; `query` is signed with it, `then` is appended afterwards."""
        at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
        stamp, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
        headers = {"host": self.host} | {name.lower(): value for name, value in (headers or {}).items()}
        credential = f"{day}/{REGION}/{scope}/aws4_request"
        pairs = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{KEY}/{credential}"),
            ("X-Amz-Date", stamp),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", ";".join(sorted(headers))),
            *query,
        ]
        pairs = sorted((encode(name), encode(value)) for name, value in pairs)
        canonical_query = "&".join(f"{name}={value}" for name, value in pairs)
        path = f"/{self.bucket}/{quote(key, safe='-_.~/')}"
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join([method, path, canonical_query, lines, ";".join(sorted(headers)), "UNSIGNED-PAYLOAD"])
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, credential, hashlib.sha256(request.encode()).hexdigest()])
        secret = f"AWS4{SECRET}".encode()
        for part in (day, REGION, scope, "aws4_request", text):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        more = "".join(f"&{name}={encode(value)}" for name, value in then)
        return f"{self.url}{path}?{canonical_query}&X-Amz-Signature={secret.hex()}{more}"

    def refused(self, expected, url, method="PUT", data=DATA, **more):
        """The attempt is answered by one of these codes, and the bucket is as it was."""
        answer = requests.request(method, url, data=data, **more)
        if method == "HEAD":
            assert answer.status_code == 403
        else:
            assert code_of(answer) in expected.split("|"), f"{answer.status_code} {answer.text} {url}"
            forbidden = ("SignatureDoesNotMatch", "AccessDenied", "RequestTimeTooSkewed")
            status = {"MissingContentLength": 411} | dict.fromkeys(forbidden, 403)
            assert answer.status_code == status.get(code_of(answer), 400)
        self.untouched()
        return answer

    def untouched(self):
        assert self.s3.list_object_versions(Bucket=self.bucket).get("Versions", []) == self.before
        uploads = self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        parts = [
            part["PartNumber"]
            for upload in uploads
            for part in self.s3.list_parts(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", [])
        ]
        assert (len(uploads), parts) == (1, [])

    def send(self, head, body=b"", close=False):
        """Raw bytes, and all that comes back for them."""
        address = urlsplit(self.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as line:
            line.sendall(head.encode() + body)
            if close:
                line.shutdown(socket.SHUT_WR)
            got = b""
            while piece := line.recv(65536):
                got += piece
        return got


def target(url):
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@pytest.fixture
def links(s3, endpoint_url, bucket):
    """With an object that is not the link's, and an upload that is begun."""
    links = Links(endpoint_url, bucket)
    s3.put_object(Bucket=bucket, Key="secret", Body=b"not yours")
    links.upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    links.before = s3.list_object_versions(Bucket=bucket)["Versions"]
    return links


def written(links, key="mine"):
    return links.s3.get_object(Bucket=links.bucket, Key=key)["Body"].read()


def test_what_was_signed_works(links):
    """The signer is right: else every refusal below would be worth nothing."""
    assert requests.get(links.sign("GET", "secret")).content == b"not yours"
    signed = {"content-length": str(len(DATA)), "x-amz-checksum-sha256": SHA256, "content-type": "video/mp4"}
    done = requests.put(links.sign(headers=signed), data=DATA, headers=signed)
    assert done.status_code == 200, done.text
    assert written(links) == DATA
    part = links.sign(key="big", query=[("partNumber", "1"), ("uploadId", links.upload)])
    assert requests.put(part, data=DATA).status_code == 200
    in_query = links.sign(key="odd name+ü&?", query=[("x-amz-checksum-sha256", SHA256)])
    assert requests.put(in_query, data=DATA).status_code == 200
    assert written(links, "odd name+ü&?") == DATA


@pytest.mark.parametrize(
    "header, value",
    [
        ("x-amz-copy-source", "/{bucket}/secret"),
        ("x-amz-meta-role", "admin"),
        ("x-amz-tagging", "public=1"),
        ("x-amz-acl", "public-read"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-website-redirect-location", "https://evil.test/"),
        ("x-amz-checksum-sha256", SHA256),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("X-Amz-Date", "20200101T000000Z"),
        ("x-amz-security-token", "token"),
    ],
)
def test_a_header_that_was_not_signed(links, header, value):
    headers = {header: value.format(bucket=links.bucket)}
    links.refused("AccessDenied", links.sign(), headers=headers)
    part = links.sign(key="big", query=[("partNumber", "1"), ("uploadId", links.upload)])
    links.refused("AccessDenied", part, headers=headers)


def test_another_length(links):
    url = links.sign(headers={"content-length": str(len(DATA))})
    links.refused("SignatureDoesNotMatch", url, data=DATA + b"x")
    links.refused("SignatureDoesNotMatch", url, data=DATA[:-1])
    links.refused("SignatureDoesNotMatch", url, data=b"")


def test_another_checksum(links):
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    url = links.sign(headers={"x-amz-checksum-sha256": SHA256})
    links.refused("SignatureDoesNotMatch", url, data=b"other", headers={"x-amz-checksum-sha256": other})
    links.refused("SignatureDoesNotMatch", url, data=b"other")
    links.refused("BadDigest", url, data=b"other", headers={"x-amz-checksum-sha256": SHA256})
    # The same, where the signer put the checksum into the query, as SDKs do for browsers.
    url = links.sign(query=[("x-amz-checksum-sha256", SHA256)])
    links.refused("BadDigest", url, data=b"other")
    links.refused("AccessDenied", url, data=b"other", headers={"x-amz-checksum-sha256": other})
    links.refused("SignatureDoesNotMatch", url.replace(encode(SHA256), encode(other)), data=b"other")
    md5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
    url = links.sign(headers={"content-md5": md5})
    links.refused("SignatureDoesNotMatch", url, data=b"other")
    links.refused("BadDigest", url, data=b"other", headers={"content-md5": md5})
    # A hash of the body that the sender gives is compared, although a link signs none.
    hashed = {"x-amz-content-sha256": hashlib.sha256(DATA).hexdigest()}
    links.refused("XAmzContentSHA256Mismatch", links.sign(), data=b"other", headers=hashed)


def test_another_key(links):
    url = links.sign()
    for path in ("/mine2?", "/secret?", "/mine/?", "//mine?", "/mine%00?", "/Mine?", "?"):
        links.refused("SignatureDoesNotMatch", url.replace("/mine?", path))
    # As it is sent: a client library would take the dots out first.
    dots = target(url).replace("/mine?", "/secret/../mine?")
    answer = links.send(f"PUT {dots} HTTP/1.1\r\nHost: {links.host}\r\nContent-Length: 1\r\n\r\n", b"x")
    assert b"<Code>SignatureDoesNotMatch</Code>" in answer
    links.untouched()
    elsewhere = url.replace(f"/{links.bucket}/", f"/{links.bucket}x/")
    links.refused("SignatureDoesNotMatch", elsewhere)
    part = links.sign(key="big", query=[("partNumber", "1"), ("uploadId", links.upload)])
    links.refused("SignatureDoesNotMatch", part.replace("/big?", "/mine?"))


def test_too_late_and_too_early(links):
    assert "expired" in links.refused("AccessDenied", links.sign(age=901)).text
    assert "expired" in links.refused("AccessDenied", links.sign("GET", "secret", age=62, expires=60), "GET").text
    links.refused("AccessDenied|RequestTimeTooSkewed", links.sign(age=-3600))
    week = 604_800
    links.refused("AuthorizationQueryParametersError", links.sign(expires=week + 1))
    links.refused("AuthorizationQueryParametersError", links.sign(expires=-1))
    links.refused("SignatureDoesNotMatch", links.sign(age=60, expires=30).replace("Expires=30", "Expires=900"))
    stale = links.sign(age=1000)
    fresh = links.sign()
    date = fresh.partition("X-Amz-Date=")[2].partition("&")[0]
    old = stale.partition("X-Amz-Date=")[2].partition("&")[0]
    links.refused("SignatureDoesNotMatch", stale.replace(old, date))


def test_another_method(links):
    read, write = links.sign("GET", "secret"), links.sign("PUT", "secret")
    for method in ("PUT", "DELETE", "POST", "HEAD"):
        links.refused("SignatureDoesNotMatch", read, method)
    for method in ("GET", "DELETE", "POST", "HEAD"):
        links.refused("SignatureDoesNotMatch", write, method)
    assert "not yours" not in requests.get(write).text


def test_another_query(links):
    url = links.sign()
    for more in (
        "&acl", "&tagging", "&uploads", "&versionId=null", "&partNumber=1", "&x-amz-copy-source=" + encode(f"/{links.bucket}/secret"),
        "&x-amz-meta-role=admin", "&X-Amz-Security-Token=t", "&x-id=PutObject", "&a", "&a=1",
    ):
        links.refused("SignatureDoesNotMatch", url + more)
    part = links.sign(key="big", query=[("partNumber", "1"), ("uploadId", links.upload)])
    links.refused("SignatureDoesNotMatch", part.replace("partNumber=1", "partNumber=2"))
    other = links.s3.create_multipart_upload(Bucket=links.bucket, Key="other")["UploadId"]
    changed = requests.put(part.replace(links.upload, other), data=DATA)
    assert code_of(changed) == "SignatureDoesNotMatch"
    links.s3.abort_multipart_upload(Bucket=links.bucket, Key="other", UploadId=other)
    dropped = part.replace("&uploadId=" + encode(links.upload), "").replace("uploadId=" + encode(links.upload) + "&", "")
    links.refused("SignatureDoesNotMatch", dropped)
    read = links.sign("GET", "secret", query=[("response-content-type", "text/plain")])
    links.refused("SignatureDoesNotMatch", read.replace("text%2Fplain", "text%2Fhtml"), "GET")
    links.refused("SignatureDoesNotMatch", read + "&response-content-disposition=attachment", "GET")


def test_parameters_given_twice(links):
    url = links.sign()
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"):
        value = url.partition(f"X-Amz-{name}=")[2].partition("&")[0]
        links.refused("AuthorizationQueryParametersError", f"{url}&X-Amz-{name}={value}")
        links.refused("AuthorizationQueryParametersError", url.replace("?", f"?X-Amz-{name}={value}&"))
        gone = "&".join(pair for pair in url.partition("?")[2].split("&") if not pair.startswith(f"X-Amz-{name}="))
        # Without a signature there is nothing to check: nobody may.
        code = "AccessDenied" if name == "Signature" else "AuthorizationQueryParametersError"
        links.refused(code, f"{url.partition('?')[0]}?{gone}")
    part = links.sign(key="big", query=[("partNumber", "1"), ("uploadId", links.upload)])
    links.refused("SignatureDoesNotMatch", part + "&partNumber=2")
    links.refused("SignatureDoesNotMatch", part.replace("?", "?partNumber=2&"))
    links.refused("SignatureDoesNotMatch", part + f"&uploadId={links.upload}")


def test_another_host(links):
    links.refused("SignatureDoesNotMatch", links.sign(), headers={"Host": "evil.test"})
    links.refused("SignatureDoesNotMatch", links.sign(), headers={"Host": f"{links.bucket}.{links.host}"})


def test_another_service_and_another_way_to_sign(links):
    links.refused("AuthorizationQueryParametersError", links.sign(scope="sqs"))
    links.refused("AuthorizationQueryParametersError", links.sign(scope="sts"))
    links.refused("AuthorizationQueryParametersError", links.sign().replace("HMAC-SHA256", "HMAC-SHA1"))
    request = AWSRequest("PUT", f"{links.url}/{links.bucket}/mine")
    HmacV1QueryAuth(Credentials(KEY, SECRET)).add_auth(request)
    assert "AWSAccessKeyId" in request.url
    assert "AWS4-HMAC-SHA256" in links.refused("InvalidRequest", request.url).text
    links.refused("InvalidRequest", f"{links.url}/{links.bucket}/mine", headers={"Authorization": f"AWS {KEY}:c2lnbmF0dXJl"})
    # Both at once: neither makes the other stronger.
    links.refused("InvalidRequest", links.sign() + f"&AWSAccessKeyId={KEY}&Signature=x&Expires=9999999999")


def test_a_body_without_a_length(links):
    def chunks():
        yield DATA

    links.refused("MissingContentLength", links.sign(), data=chunks())
    links.refused("MissingContentLength", links.sign(headers={"content-length": str(len(DATA))}), data=chunks())
    part = links.sign(key="big", query=[("partNumber", "1"), ("uploadId", links.upload)])
    links.refused("MissingContentLength", part, data=chunks())


def test_a_body_shorter_than_its_length(links):
    url = links.sign(headers={"content-length": str(len(DATA))})
    head = f"PUT {target(url)} HTTP/1.1\r\nHost: {links.host}\r\nContent-Length: {len(DATA)}\r\n\r\n"
    answer = links.send(head, DATA[:-1], close=True)
    assert b"200 OK" not in answer
    assert not answer or b"<Code>IncompleteBody</Code>" in answer or b" 400 " in answer.splitlines()[0], answer
    links.untouched()


def test_a_body_longer_than_its_length(links):
    """What follows the signed bytes is the next request, and nobody signed that."""
    url = links.sign(headers={"content-length": str(len(DATA))})
    head = f"PUT {target(url)} HTTP/1.1\r\nHost: {links.host}\r\nContent-Length: {len(DATA)}\r\n\r\n"
    smuggled = f"DELETE /{links.bucket}/secret HTTP/1.1\r\nHost: {links.host}\r\nConnection: close\r\n\r\n"
    answer = links.send(head, DATA + smuggled.encode())
    assert answer.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 200 OK" in answer and b"HTTP/1.1 403 " in answer
    assert b"<Code>AccessDenied</Code>" in answer
    assert written(links) == DATA and written(links, "secret") == b"not yours"


def test_two_lengths_and_a_length_beside_chunks(links):
    """Where a proxy and the endpoint might disagree on where a body ends, there is no body."""
    url = links.sign(headers={"content-length": str(len(DATA))})
    for lines in (
        f"Content-Length: {len(DATA)}\r\nContent-Length: 0\r\n",
        f"Content-Length: {len(DATA)}\r\nTransfer-Encoding: chunked\r\n",
    ):
        head = f"PUT {target(url)} HTTP/1.1\r\nHost: {links.host}\r\nConnection: close\r\n{lines}\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA) if "chunked" in lines else DATA
        answer = links.send(head, body)
        assert answer.split(b" ", 2)[1] in (b"400", b"403", b"411"), answer
        links.untouched()


def test_a_large_refused_body_is_not_taken(links):
    url = links.sign(headers={"content-length": "10"})
    head = f"PUT {target(url)} HTTP/1.1\r\nHost: {links.host}\r\nContent-Length: {5 << 30}\r\n\r\n"
    answer = links.send(head, bytes(64 << 10))
    assert b"<Code>SignatureDoesNotMatch</Code>" in answer and b"connection: close" in answer.lower()
    links.untouched()
