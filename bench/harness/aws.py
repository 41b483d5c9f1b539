"""Signed requests to an AWS-compatible endpoint with the standard library alone, so that what is measured is the endpoint and not an SDK:
one connection a client, no retries. What load generators send is signed here once (SigV4 has no nonce) and sent many times."""

import datetime
import hashlib
import hmac
import http.client
import json
import os
import urllib.parse

EMPTY = hashlib.sha256(b"").hexdigest()
SAFE = "-_.~"


class Refused(Exception):
    """An answer that is no success."""


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=SAFE + safe)


class Endpoint:
    def __init__(self, url, key="test", secret="test", region="us-east-1"):
        self.url, self.key, self.secret, self.region = url.rstrip("/"), key, secret, region
        self.host = urllib.parse.urlsplit(self.url).netloc
        self._connection = None

    def clone(self):
        """The same endpoint on a connection of its own, for another thread."""
        return Endpoint(self.url, self.key, self.secret, self.region)

    def _signature(self, service, date, scope, canonical):
        text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + self.secret).encode()
        for part in (date[:8], self.region, service, "aws4_request", text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key.hex()

    def sign(self, service, method, path, headers=None, body=b"", unsigned=False):
        """Headers of a request, with its signature. `unsigned`: S3 without a hash of the body."""
        date = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{date[:8]}/{self.region}/{service}/aws4_request"
        digest = "UNSIGNED-PAYLOAD" if unsigned else hashlib.sha256(body).hexdigest()
        path, _, query = path.partition("?")
        headers = {"host": self.host, "x-amz-date": date, "x-amz-content-sha256": digest, **(headers or {})}
        names = sorted(headers)
        canonical = "\n".join(
            [method, path, "&".join(sorted(query.split("&"))) if query else ""]
            + [f"{name}:{headers[name]}" for name in names]
            + ["", ";".join(names), digest]
        )
        signature = self._signature(service, date, scope, canonical)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return headers

    def presign(self, method, bucket, key, seconds=3600):
        date = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{date[:8]}/{self.region}/s3/aws4_request"
        path = f"/{bucket}/{quote(key, '/')}"
        query = urllib.parse.urlencode(
            {
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Credential": f"{self.key}/{scope}",
                "X-Amz-Date": date,
                "X-Amz-Expires": str(seconds),
                "X-Amz-SignedHeaders": "host",
            },
            quote_via=lambda text, *_: quote(text),
        )
        canonical = "\n".join([method, path, query, f"host:{self.host}", "", "host", "UNSIGNED-PAYLOAD"])
        return f"{self.url}{path}?{query}&X-Amz-Signature={self._signature('s3', date, scope, canonical)}"

    def request(self, service, method, path, headers=None, body=b"", unsigned=False):
        headers = self.sign(service, method, path, headers, b"" if unsigned else body, unsigned)
        for again in (True, False):
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self.host, timeout=120)
            try:
                self._connection.request(method, path, body=body, headers=headers)
                answer = self._connection.getresponse()
                text = answer.read()
                break
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # A connection that the server closed while it was idle.
                self._connection = None
                if not again:
                    raise
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {text[:300]!r}")
        return answer, text

    # S3

    def make_bucket(self, bucket):
        self.request("s3", "PUT", f"/{bucket}")

    def put(self, bucket, key, body):
        """Puts bytes or an open file."""
        length = len(body) if isinstance(body, bytes) else os.fstat(body.fileno()).st_size
        self.request("s3", "PUT", f"/{bucket}/{quote(key, '/')}", {"content-length": str(length)}, body, unsigned=True)

    # SQS and SNS

    def sqs_request(self, action, **members):
        """Headers and body of a request, signed."""
        body = json.dumps(members).encode()
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{action}"}
        return self.sign("sqs", "POST", "/", headers, body), body

    def sqs(self, action, **members):
        body = json.dumps(members).encode()
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{action}"}
        return json.loads(self.request("sqs", "POST", "/", headers, body)[1] or b"{}")

    def sns(self, action, **members):
        body = urllib.parse.urlencode({"Action": action, "Version": "2010-03-31", **members}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self.request("sns", "POST", "/", headers, body)[1].decode()

    # RDS Data

    def sql(self, statement, database="reelfleet", **values):
        """Rows of a statement; values are strings or whole numbers."""
        parameters = [
            {"name": name, "value": {"longValue": value} if isinstance(value, int) else {"stringValue": value}}
            for name, value in values.items()
        ]
        members = {
            "resourceArn": f"arn:aws:rds:{self.region}:000000000000:cluster:reelfleet",
            "secretArn": f"arn:aws:secretsmanager:{self.region}:000000000000:secret:reelfleet",
            "database": database,
            "sql": statement,
            "parameters": parameters,
        }
        body = json.dumps(members).encode()
        answer = json.loads(self.request("rds-data", "POST", "/Execute", {"content-type": "application/json"}, body)[1])
        return [[None if cell.get("isNull") else next(iter(cell.values())) for cell in row] for row in answer.get("records", [])]
