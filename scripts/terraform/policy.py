#!/usr/bin/env python3
"""What must hold of the infrastructure, judged on the state that a mocked apply resolves.

    policy.py STATE.json ROOT         STATE.json: the output of `terraform test -json -verbose`; ROOT: the tree it is of

Prints one line for each violation, `rule address: what is wrong`, and ends with 1 if there is any. Addresses, not ARNs, say
what belongs together: under a mock all resources of a type have the same ARN.
"""

import json
import pathlib
import re
import sys
from dataclasses import dataclass

# IAM knows no resource for these.
WITHOUT_RESOURCE = {"sqs:ListQueues", "sns:Unsubscribe"}
# Policies of AWS's own that a role may have: they grow without us, so each is named here, with the roles that need it.
AWS_POLICIES = {"arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy": "start"}
FARGATE = {
    256: [512, 1024, 2048], 512: range(1024, 4097, 1024), 1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024), 4096: range(8192, 30721, 1024), 8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|SMTP_URL")
# An upload of the API can be resumed, and the janitor waits, for so many days.
UPLOAD_DAYS = 7
PUBLIC = {"0.0.0.0/0", "::/0"}
# So long may a deleted asset be seen at the edge, where nothing is invalidated.
EDGE_SECONDS = 60
# CloudFront's own policy that keeps nothing.
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"


# What a worker's own code calls or uses, and what its role must allow for it. What every process does besides (rows, outbox,
# taking messages) is in shared code; so is what names of it stand for.
CALLS = {
    r"\.get_queue_attributes\(": {"sqs:GetQueueAttributes"}, r"\.create_queue\(": {"sqs:CreateQueue"},
    r"\.delete_queue\(": {"sqs:DeleteQueue"}, r"\.list_queues\(": {"sqs:ListQueues"}, r"\.tag_queue\(": {"sqs:TagQueue"},
    r"\.list_queue_tags\(": {"sqs:ListQueueTags"}, r"\.send_message\(": {"sqs:SendMessage"},
    r"\.receive_message\(": {"sqs:ReceiveMessage"}, r"\bsns[^;]*\.subscribe\(": {"sns:Subscribe"},
    r"\.unsubscribe\(": {"sns:Unsubscribe"}, r"\.list_subscriptions_by_topic\(": {"sns:ListSubscriptionsByTopic"},
    r"\.put_object_tagging\(": {"s3:PutObjectTagging", "s3:PutObjectVersionTagging"},
    r"\.get_object\(|\.head_object\(|\bRangedReader\b|\bfetch\(|\bhead\(": {"s3:GetObject"},
    r"\bObjectWriter\b": {"s3:PutObject"}, r"\bversions_page\(": {"s3:ListBucketVersions"},
    r"\.delete_prefix\(|\.delete_keys\(": {"s3:DeleteObject", "s3:ListBucket"},
    r"\.delete_exactly\(": {"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucketVersions"},
    r"\.delete_versions\(": {"s3:DeleteObjectVersion", "s3:ListBucketVersions"},
    r"\.has_versions\(|\.is_gone\(": {"s3:ListBucketVersions"},
    r"\.list_page\(": {"s3:ListBucket"}, r"\bMultipart\b": {"s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads"},
    r"\bservices::scale\(": {
        "application-autoscaling:RegisterScalableTarget", "ecs:DescribeServices", "ecs:UpdateService",
    },
    r"\.consumer\(": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "ecs:UpdateTaskProtection"},
    r"\bdead_letters\b": {
        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:SendMessage",
    },
}


@dataclass
class Resource:
    type: str
    name: str
    module: str
    address: str
    values: dict


class State:
    """Resources by type, with the text of policies read."""

    def __init__(self, path):
        self.all = []
        for line in pathlib.Path(path).read_text().splitlines():
            entry = json.loads(line)
            if entry.get("type") == "test_state" and entry.get("@testrun") == "whole":
                self._walk(entry["test_state"]["root_module"], "")
        if not self.all:
            raise SystemExit(f"{path}: no state of the run `whole`")

    def _walk(self, module, address):
        for one in module.get("resources", []):
            if one["mode"] == "managed":
                self.all.append(Resource(one["type"], one["name"], address, one["address"], one["values"]))
        for child in module.get("child_modules", []):
            self._walk(child, child["address"])

    def of(self, kind, module=None):
        return [one for one in self.all if one.type == kind and module in (None, one.module)]


def listed(value):
    return value if isinstance(value, list) else [] if value is None else [value]


def statements(text):
    policy = json.loads(text)
    return policy.get("Version"), listed(policy.get("Statement"))


def policies(state):
    """(resource, policy text, whether it is a role's)."""
    for kind, field, of_role in [
        ("aws_iam_role_policy", "policy", True), ("aws_iam_policy", "policy", True), ("aws_iam_role", "assume_role_policy", False),
        ("aws_sqs_queue_policy", "policy", False), ("aws_sns_topic_policy", "policy", False),
        ("aws_s3_bucket_policy", "policy", False), ("aws_kms_key", "policy", False),
    ]:
        for one in state.of(kind):
            yield one, one.values[field], of_role


def is_everything(resource):
    """Whether a resource stands for all of its kind: `*`, or an ARN that names none."""
    parts = resource.split(":", 5)
    if len(parts) < 6:
        return "*" in resource
    # Other services than S3 put the kind before the name: `task/…`, `secret:…`.
    name = parts[5] if parts[2] == "s3" else re.sub(r"^[a-z-]+[/:]", "", parts[5])
    first = re.split("[/:]", name)[0]
    return "*" in parts[2] or (first != "" and set(first) <= {"*", "?"})


def check_attachments(state):
    """Policies that a role has from elsewhere: AWS's own, or ours, which are judged like inline ones."""
    for kind in ("aws_iam_policy_attachment", "aws_iam_user_policy", "aws_iam_user_policy_attachment", "aws_iam_group_policy",
                 "aws_iam_group_policy_attachment", "aws_iam_role_policy_attachments_exclusive"):
        for one in state.of(kind):
            yield "P2", one, "rights go to roles, each by an attachment of its own"
    for one in state.of("aws_iam_role"):
        for arn in listed(one.values.get("managed_policy_arns")):
            if AWS_POLICIES.get(arn) != one.name:
                yield "P2", one, f"{arn} is more than it needs"
        for inline in listed(one.values.get("inline_policy")):
            if inline.get("policy"):
                yield "P2", one, "its inline policy is a resource of its own, or nobody judges it"
    for one in state.of("aws_iam_role_policy_attachment"):
        arn = one.values["policy_arn"]
        ours = arn.startswith("arn:aws:iam::") and not arn.startswith("arn:aws:iam::aws:")
        if ours and not any(other.name == one.name for other in state.of("aws_iam_policy", one.module)):
            yield "P2", one, f"{arn} is not made here: nobody knows what it allows"
        if not ours and AWS_POLICIES.get(arn) != one.name:
            yield "P2", one, f"{arn} is more than it needs"


def check_policies(state):
    for one, text, of_role in policies(state):
        version, found = statements(text)
        if version != "2012-10-17":
            yield "P1", one, f"policy version {version}: variables in it would be read as text"
        tls = False
        for statement in found:
            sid, effect = statement.get("Sid", "?"), statement.get("Effect")
            condition = statement.get("Condition", {})
            actions = listed(statement.get("Action"))
            if effect not in ("Allow", "Deny"):
                yield "P1", one, f"{sid}: effect {effect}"
            if of_role and effect != "Deny":
                for action in actions:
                    if "*" in action:
                        yield "P2", one, f"{sid}: {action} is a wildcard"
                # What is left over of everything is everything that AWS will ever add.
                for left_over in {"NotAction", "NotResource"} & set(statement):
                    yield "P2", one, f"{sid}: {left_over} allows whatever it does not name"
                for resource in listed(statement.get("Resource")):
                    if is_everything(resource) and not (resource == "*" and set(actions) <= WITHOUT_RESOURCE):
                        yield "P3", one, f"{sid}: {', '.join(actions)} on every resource ({resource})"
            principal = statement.get("Principal")
            if one.type != "aws_iam_role" and effect == "Allow" and "NotPrincipal" in statement:
                yield "P4", one, f"{sid}: NotPrincipal allows whomever it does not name"
            everybody = principal == "*" or (isinstance(principal, dict) and "*" in listed(principal.get("AWS")))
            if everybody and effect == "Allow" and not condition:
                yield "P4", one, f"{sid}: everybody, without a condition"
            service = isinstance(principal, dict) and "Service" in principal
            if service and one.type != "aws_iam_role" and effect == "Allow":
                keys = {key for part in condition.values() for key in part}
                if not any(key.startswith(("aws:Source", "kms:EncryptionContext")) for key in keys):
                    yield "P5", one, f"{sid}: {principal['Service']} on behalf of any account"
            secure = condition.get("Bool", {}).get("aws:SecureTransport")
            tls = tls or (effect == "Deny" and everybody and secure == "false")
        if one.type in ("aws_sqs_queue_policy", "aws_s3_bucket_policy") and not tls:
            yield "P6", one, "plain HTTP is not denied"


def attached_to(state, role):
    """Texts of our own policies that are attached to a role. A policy and its attachment have the same name."""
    for attachment in state.of("aws_iam_role_policy_attachment"):
        if attachment.values["role"] == role:
            for one in state.of("aws_iam_policy", attachment.module):
                if one.name == attachment.name:
                    yield one.values["policy"]


def check_rights(state, root):
    for one in state.of("aws_iam_role_policy"):
        worker = re.search(r'module\.worker\["([^"]+)"\]', one.module)
        if one.name != "task" or not worker:
            continue
        crate = {"gateway": "gateway", "backfill": "workers/transcoder"}.get(worker[1], f"workers/{worker[1]}")
        files = [path for path in (root / crate / "src").rglob("*.rs") if not {"tests", "tests.rs"} & set(path.parts)]
        text = "\n".join(path.read_text().split("#[cfg(test)]\nmod tests {")[0] for path in files)
        texts = [one.values["policy"], *attached_to(state, f"{prefix_of(state)}-{worker[1]}")]
        allowed = {action for text in texts for statement in statements(text)[1] for action in listed(statement.get("Action"))}
        for call, wanted in CALLS.items():
            if re.search(call, text) and not wanted <= allowed:
                yield "P7", one, f"the code of {crate} needs {', '.join(sorted(wanted - allowed))}"


def queue_of(one):
    return re.search(r'module\.queue\["([^"]+)"\]', one.module).group(1)


def check_queues(state, topology):
    queues = [one for one in state.of("aws_sqs_queue") if one.name == "queue"]
    letters = topology["dead_letters"]
    made = {queue_of(one) for one in queues}
    if made != set(topology["queues"]):
        yield "Q5", queues[0], f"queues {sorted(made)}, the fleet has {sorted(topology['queues'])}"
    for one in state.of("aws_sqs_queue"):
        if not one.values.get("kms_master_key_id"):
            yield "Q1", one, "not encrypted by our key"
    for one in queues:
        name = queue_of(one)
        facts = topology["queues"][name]
        [dead] = [other for other in state.of("aws_sqs_queue", one.module) if other.name == "dead_letters"]
        hidden = one.values["visibility_timeout_seconds"]
        if not facts["task_limit_seconds"] < hidden <= 43_200:
            yield "Q2", one, f"hidden for {hidden} s, a task may take {facts['task_limit_seconds']} s"
        if one.values["message_retention_seconds"] >= dead.values["message_retention_seconds"]:
            yield "Q3", dead, "keeps messages no longer than its source, and they bring their age along"
        redrive = json.loads(one.values.get("redrive_policy") or "{}")
        if redrive.get("maxReceiveCount") != letters["max_receives"] or not redrive.get("deadLetterTargetArn"):
            yield "Q3", one, f"redrive policy {redrive}"
        alarms = {other.name for other in state.of("aws_cloudwatch_metric_alarm", one.module)}
        for wanted in {"dead_letters", "age"} - alarms:
            yield "Q4", one, f"no alarm {wanted}"
        if one.values["name"] != f"{prefix_of(state)}-{name}":
            yield "Q5", one, f"name {one.values['name']}: the fleet would not find it"
        wanted = topology["subscriptions"].get(name)
        found = state.of("aws_sns_topic_subscription", one.module)
        if len(found) != (1 if wanted else 0):
            yield "E2", one, f"{len(found)} subscriptions"
        for subscription in found if wanted else []:
            raw = bool(subscription.values.get("raw_message_delivery"))
            policy = json.loads(subscription.values.get("filter_policy") or "null")
            if raw != wanted["raw"] or policy != wanted["filter"]:
                yield "E2", subscription, f"raw {raw}, filter {policy}; the fleet wants {wanted}"


def prefix_of(state):
    return state.of("aws_ecs_cluster")[0].values["name"]


def check_topics(state):
    for one in state.of("aws_sns_topic"):
        if not one.values.get("kms_master_key_id"):
            yield "E1", one, "not encrypted by our key"
    services = set()
    for one in state.of("aws_kms_key"):
        if not one.values.get("enable_key_rotation"):
            yield "K1", one, "the key is not rotated"
        for statement in statements(one.values["policy"])[1]:
            principal = statement.get("Principal", {})
            services |= set(listed(principal.get("Service"))) if isinstance(principal, dict) else set()
        for service in {"s3.amazonaws.com", "sns.amazonaws.com"} - services:
            yield "E1", one, f"{service} can't use the key: nothing that lands would be told"


def quarantine(root):
    """The tag of what reviewers rejected, as the janitor sets it."""
    found = re.search(r'QUARANTINE: [^=]*= \("([^"]+)", "([^"]+)"\)', (root / "workers/janitor/src/reviews.rs").read_text())
    return {f"s3:ExistingObjectTag/{found[1]}": found[2]}


def closes_quarantine(statement, tag):
    condition = statement.get("Condition", {})
    # Any other condition would have to hold too: it lets through what it does not name.
    others = set(condition) - {"StringEquals", "ArnNotLike"} or set(condition.get("ArnNotLike", {})) - {"aws:PrincipalArn"}
    return (
        statement.get("Effect") == "Deny" and statement.get("Principal") == "*" and not others
        and {"s3:GetObject", "s3:GetObjectVersion"} <= set(listed(statement.get("Action")))
        and all(one.endswith("/*") for one in listed(statement.get("Resource")))
        and condition.get("StringEquals") == tag and "*" not in listed(condition.get("ArnNotLike", {}).get("aws:PrincipalArn"))
    )


def check_buckets(state, topology, tag):
    buckets = state.of("aws_s3_bucket")

    def role(one):
        return re.search(r'\["([^"]+)"\]$', one.address).group(1)

    for bucket in buckets:
        def about(kind, bucket=bucket):
            return [one for one in state.of(kind, bucket.module) if one.address.endswith(f'["{role(bucket)}"]')]

        blocks = about("aws_s3_bucket_public_access_block")
        four = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
        if not blocks or not all(blocks[0].values[name] for name in four):
            yield "B1", (blocks or [bucket])[0], "not closed to the public in all four ways"
        rules = [rule for one in about("aws_s3_bucket_lifecycle_configuration") for rule in one.values["rule"]]
        days = [
            abort["days_after_initiation"] for rule in rules if rule["status"] == "Enabled"
            for abort in rule.get("abort_incomplete_multipart_upload", [])
        ]
        if not days or min(days) <= UPLOAD_DAYS:
            yield "B3", bucket, f"unfinished uploads end after {days} days; not at all, or before they may be resumed"
        expire = [rule["id"] for rule in rules if any(one.get("days") for one in rule.get("expiration", []))]
        if role(bucket) == "outputs" and expire:
            yield "B7", bucket, f"what is played would expire by the rules {expire}"
        old = [rule for rule in rules if rule.get("noncurrent_version_expiration")]
        if role(bucket) == "uploads" and not old:
            yield "B7", bucket, "what has expired or was replaced would be kept, and paid, for ever"
        encryptions = [
            by for one in about("aws_s3_bucket_server_side_encryption_configuration") for rule in one.values["rule"]
            for by in rule["apply_server_side_encryption_by_default"]
        ]
        if not encryptions or encryptions[0]["sse_algorithm"] != "aws:kms":
            yield "B4", bucket, "not encrypted by our key"
        if not about("aws_s3_bucket_policy"):
            yield "P6", bucket, "no policy"
        for one in about("aws_s3_bucket_policy") if role(bucket) == "uploads" else []:
            if not any(closes_quarantine(statement, tag) for statement in statements(one.values["policy"])[1]):
                yield "B6", one, "what reviewers rejected into quarantine can be read"
    versioned = state.of("aws_s3_bucket_versioning")
    for one in versioned:
        if one.values["versioning_configuration"][0]["status"] != "Enabled":
            yield "B2", one, "sources that are overwritten would be lost"
    if [one.name for one in versioned] != ["uploads"]:
        yield "B2", buckets[0], "uploads, and they alone, are versioned: a deleted output must be gone"
    for one in state.of("aws_s3_bucket_notification"):
        told = [set(topic["events"]) for topic in one.values["topic"]]
        if told != [set(topology["upload_events"])] or any(topic.get("filter_suffix") for topic in one.values["topic"]):
            yield "B5", one, f"tells {told}: whatever lands is processed"


def containers(state):
    for one in state.of("aws_ecs_task_definition"):
        for container in json.loads(one.values["container_definitions"]):
            yield one, container


def known_variables(root):
    text = "\n".join(
        path.read_text() for folder in ("shared", "workers", "gateway", "cli")
        for path in (root / folder).rglob("*.rs") if "target" not in path.parts
    )
    return set(re.findall(r'"((?:REELFLEET|OTEL)_[A-Z0-9_]+)"', text)) | {"AWS_REGION"}


def known_roles(root):
    """Workers, as `reelfleet worker` calls them."""
    return set(re.findall(r'Self::\w+ => "(\w+)"', (root / "cli/src/worker.rs").read_text()))


def check_tasks(state, known, roles):
    for one in state.of("aws_ecs_task_definition"):
        cpu, memory = int(one.values["cpu"]), int(one.values["memory"])
        if memory not in FARGATE.get(cpu, []):
            yield "T1", one, f"Fargate has no {cpu} CPU units with {memory} MiB"
    for one, container in containers(state):
        limits = container.get("linuxParameters", {})
        user = container.get("user", "0").split(":")[0]
        if not container.get("readonlyRootFilesystem"):
            yield "T2", one, "it can write to its root"
        if user in ("0", "root", ""):
            yield "T3", one, "it runs as root"
        if limits.get("capabilities", {}).get("drop") != ["ALL"] or limits["capabilities"].get("add"):
            yield "T3", one, "it keeps capabilities"
        variables = {entry["name"]: entry["value"] for entry in container.get("environment", [])}
        grace, stop = int(variables.get("REELFLEET_GRACE_SECONDS", 25)), container.get("stopTimeout", 30)
        if not grace + 5 <= stop <= 120:
            yield "T4", one, f"killed after {stop} s, although it may take {grace} s to drain (and Fargate waits 120 s)"
        if container.get("logConfiguration", {}).get("logDriver") != "awslogs":
            yield "T5", one, "its log goes nowhere"
        if "healthCheck" not in container and container["name"] != "migrate":
            yield "T5", one, "nobody sees that it hangs"
        for name in variables:
            if SECRET.search(name) and not name.endswith("_ARN"):
                yield "T6", one, f"{name} is in plain sight"
        command = container.get("command", [])
        if command[:1] == ["worker"] and command[1] not in roles:
            yield "T8", one, f"there is no `reelfleet {' '.join(command)}`"
        for name in [*variables, *(entry["name"] for entry in container.get("secrets", []))]:
            if name not in known:
                yield "T7", one, f"nothing reads {name}"
    for one in state.of("aws_cloudwatch_log_group"):
        if not one.values.get("retention_in_days"):
            yield "T5", one, "logs are kept, and paid, for ever"


def formula(pool):
    """What the target tracking of a pool must compute: `shared/domain/src/scaling.rs` in CloudWatch's words."""
    terms = []
    for queue in sorted(pool["seconds"]):
        seconds = f"{pool['seconds'][queue]:g}"
        terms.append(f"{seconds} * (FILL(visible_{queue}, 0) + FILL(in_flight_{queue}, 0))")
    return f"({' + '.join(terms)}) / ({pool['slots']} * IF(FILL(running, 0) > 1, FILL(running, 0), 1))"


def check_scaling(state, pools):
    for service in state.of("aws_ecs_service"):
        worker = re.search(r'module\.worker\["([^"]+)"\]', service.module).group(1)
        targets = state.of("aws_appautoscaling_target", service.module)
        found = {one.name: one for one in state.of("aws_appautoscaling_policy", service.module)}
        if not targets:
            yield "S1", service, "nothing scales it"
            continue
        low, high = targets[0].values["min_capacity"], targets[0].values["max_capacity"]
        if high > low and not {"work", "cpu"} & set(found):
            yield "S1", service, f"{low} to {high} tasks, and nothing decides"
        network = service.values["network_configuration"][0]
        private = any(one.type == "aws_vpc_endpoint" and one.name == "interface" for one in state.all)
        if private and network["assign_public_ip"]:
            yield "S4", service, "a public address in a private network"
        pool = pools.get(worker)
        if pool is None:
            continue
        if high > pool["max"]:
            yield "S5", targets[0], f"up to {high} tasks, schema/scaling.json allows {pool['max']}"
        if "work" not in found:
            yield "S2", service, "the formula does not scale it"
            continue
        tracking = found["work"].values["target_tracking_scaling_policy_configuration"][0]
        metrics = tracking["customized_metric_specification"][0]["metrics"]
        expressions = [metric["expression"] for metric in metrics if metric.get("return_data")]
        if expressions != [formula(pool)]:
            yield "S2", found["work"], f"computes {expressions}, not {formula(pool)}"
        for metric in metrics:
            for stat in metric.get("metric_stat") or []:
                about = {entry["name"]: entry["value"] for entry in stat["metric"][0]["dimensions"]}
                queue = metric["id"].removeprefix("visible_").removeprefix("in_flight_")
                if "QueueName" in about and about["QueueName"] != f"{prefix_of(state)}-{queue}":
                    yield "S2", found["work"], f"{metric['id']} is that of {about['QueueName']}"
        if tracking["target_value"] != pool["target_latency_s"]:
            yield "S5", found["work"], f"target {tracking['target_value']} s, schema/scaling.json says {pool['target_latency_s']}"
        if tracking["scale_in_cooldown"] != pool["scale_in_after_s"]:
            yield "S5", found["work"], f"shrinks after {tracking['scale_in_cooldown']} s, not {pool['scale_in_after_s']}"
        first = [one.name for one in state.of("aws_cloudwatch_metric_alarm", service.module)]
        if low == 0 and ("first" not in found or "first" not in first):
            yield "S3", service, "nothing starts the first task"


def check_database(state):
    for one in state.of("aws_rds_cluster"):
        if not one.values["storage_encrypted"]:
            yield "D1", one, "not encrypted"
        if not one.values["enable_http_endpoint"]:
            yield "D2", one, "no Data API: the fleet could not reach it"
        if not one.values["manage_master_user_password"] or one.values.get("master_password"):
            yield "D3", one, "its password would be in the state"
        if not one.values["deletion_protection"] or one.values["backup_retention_period"] < 7:
            yield "D4", one, "a slip of the hand would lose it"
    for one in state.of("aws_rds_cluster_instance"):
        if one.values["publicly_accessible"]:
            yield "D5", one, "it has a public address"


def check_edge(state):
    bounded = {CACHING_DISABLED} | {
        one.values["id"] for one in state.of("aws_cloudfront_cache_policy")
        if max(one.values[name] for name in ("min_ttl", "default_ttl", "max_ttl")) <= EDGE_SECONDS
    }
    for one in state.of("aws_cloudfront_distribution"):
        behaviours = one.values["default_cache_behavior"] + one.values["ordered_cache_behavior"]
        for behaviour in behaviours:
            path = behaviour.get("path_pattern", "*")
            if behaviour["viewer_protocol_policy"] not in ("redirect-to-https", "https-only"):
                yield "C1", one, f"{path} by plain HTTP"
            if behaviour["target_origin_id"] == "outputs" and not behaviour.get("trusted_key_groups"):
                yield "C2", one, f"{path} for everybody"
            if behaviour["cache_policy_id"] not in bounded:
                yield "C4", one, f"{path} is kept for more than {EDGE_SECONDS} s: a deleted asset would still be seen"
        for origin in one.values["origin"]:
            if origin["origin_id"] == "outputs" and not origin.get("origin_access_control_id"):
                yield "C2", one, "the bucket would have to be public"
            for custom in origin.get("custom_origin_config") or []:
                if custom["origin_protocol_policy"] != "https-only":
                    yield "C1", one, "plain HTTP to the load balancer"
        if not one.values.get("web_acl_id"):
            yield "C3", one, "no firewall"
    for one in state.of("aws_wafv2_web_acl"):
        rates = [rule for rule in one.values["rule"] if rule["statement"][0].get("rate_based_statement")]
        if not rates or not all(rule.get("action", [{}])[0].get("block") for rule in rates):
            yield "C3", one, "no rate limit"
    for one in state.of("aws_vpc_security_group_ingress_rule"):
        source = {one.values.get("cidr_ipv4"), one.values.get("cidr_ipv6")} & PUBLIC
        listed_prefix = one.values.get("prefix_list_id")
        if source or (listed_prefix and (one.values["from_port"], one.values["to_port"]) != (443, 443)):
            yield "N1", one, f"open from {source or listed_prefix}, ports {one.values['from_port']} to {one.values['to_port']}"
    for one in state.of("aws_security_group"):
        if one.values.get("ingress") and any(set(rule.get("cidr_blocks", [])) & PUBLIC for rule in one.values["ingress"]):
            yield "N1", one, "open to everybody"


def event_types(root):
    return {path.name.removesuffix(".json") for path in (root / "schema/messages/samples").glob("*.v*.json")}


def check_alerts(state, types):
    budgets = state.of("aws_budgets_budget")
    if not budgets or not budgets[0].values.get("notification"):
        yield "A1", (budgets or state.all)[0], "nobody is told what it costs"
    if not any(one.module.endswith("module.alerts") for one in state.of("aws_sns_topic_subscription")):
        yield "A1", state.all[0], "alarms wake nobody"
    for one in state.of("aws_sns_topic_subscription"):
        policy = json.loads(one.values.get("filter_policy") or "{}")
        for kind in policy.get("type", []):
            if isinstance(kind, str) and kind not in types:
                yield "A3", one, f"no event is a {kind}"
        if one.name == "event_email" and not (policy.get("type") and policy.get("tenant")):
            yield "A4", one, f"{one.values['endpoint']} would be mailed what is others': {policy}"
    for one in state.of("aws_cloudwatch_metric_alarm"):
        if not one.values.get("alarm_actions"):
            yield "A2", one, "an alarm that does nothing"


def violations(path, root):
    state = State(path)
    topology = json.loads((root / "schema/topology.json").read_text())
    pools = json.loads((root / "schema/scaling.json").read_text())["pools"]
    for found in (
        check_policies(state), check_attachments(state), check_rights(state, root), check_queues(state, topology), check_topics(state), check_buckets(state, topology, quarantine(root)),
        check_tasks(state, known_variables(root), known_roles(root)), check_scaling(state, pools), check_database(state),
        check_edge(state), check_alerts(state, event_types(root)),
    ):
        for rule, one, problem in found:
            yield rule, one.address, problem


def main():
    path, root = sys.argv[1], pathlib.Path(sys.argv[2])
    found = list(violations(path, root))
    for rule, address, problem in found:
        print(f"{rule} {address}: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
