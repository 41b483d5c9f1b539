#!/usr/bin/env python3
"""Mistakes sown into a copy of the tree, each of which must be found by the check that is there for it.

    mistakes.py ROOT WORK        ROOT: the tree; WORK: where `init` has left one TF_DATA_DIR for each environment

Mistakes that one run can tell apart share a copy: each has its rule and the place at which that rule must speak up.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import policy  # noqa: E402

MODULES = "terraform/modules"
PRODUCTION = "terraform/environments/production/main.tf"

# (file, what stands there, what a tired person writes, what the check must say)
FORMAT = [
    (f"{MODULES}/topics/main.tf", "  name              =", "      name =", "topics/main.tf"),
]
VALIDATE = [
    (f"{MODULES}/key/main.tf", "enable_key_rotation     = true", 'enable_key_rotation = "yes"', "a bool is required"),
    (f"{MODULES}/buckets/main.tf", "var.unfinished_days\n    }", "var.unfinished\n    }", 'name "unfinished"'),
    (f"{MODULES}/edge/cloudfront.tf", 'signing_behavior                  = "always"',
     'signing_behavior = "allways"', "expected signing_behavior to be one of"),
]
# Those that hide the others from `validate`.
QUEUE = [
    (f"{MODULES}/queue/main.tf", "  visibility_timeout_seconds        =", "  visibility_timeout =", "visibility_timeout"),
]
MISSING = [
    (f"{MODULES}/queue/main.tf", '  protocol             = "sqs"\n', "", '"protocol" is required'),
]
CALL = [
    (f"{MODULES}/backbone/main.tf", "  force_destroy      = var", "  force_delete      = var", '"force_delete" is not expected'),
]
# A plan refuses these.
REFUSED = [
    ("schema/topology.json", '"max_receives": 10, "retention_seconds": 1209600', '"max_receives": 10, "retention_seconds": 86400',
     "must be kept longer"),
    ("terraform/environments/production/tests/mocked.tftest.hcl", "approval.requested.v1", "approval.request.v1", "Mails tell of"),
    (PRODUCTION, 'network_profile = "private"', 'network_profile = "privat"', "public or private."),
    (f"{MODULES}/backbone/main.tf", "  quarantine_days    = var.quarantine_days\n",
     "  quarantine_days    = var.quarantine_days\n  unfinished_days    = 7\n", "can be resumed for 7 days"),
    ("terraform/environments/production/tests/mocked.tftest.hcl", "original_days      = 90", "original_days      = 3",
     "a review may take 7"),
]
ASSERTED = [
    (f"{MODULES}/fleet/workers.tf", "=${var.tenant}", ":${var.tenant}", "Not the form that the fleet reads"),
    (f"{MODULES}/fleet/outputs.tf", "--task-definition ${aws", "--task ${aws", "Nobody could make the schema"),
]
# The policy's rules, on one state: rule, and what the violation's address or text must hold.
POLICY = [
    (f"{MODULES}/topics/main.tf", 'Version = "2012-10-17"', 'Version = "2008-10-17"', "P1", "module.topics.aws_sns_topic_policy"),
    (f"{MODULES}/fleet/workers.tf", '["s3:GetObject", "s3:GetObjectVersion"]\n      Resource = "${local.uploads}/*"',
     '["s3:Get*"]\n      Resource = "${local.uploads}/*"', "P2", 'worker["transcoder"].aws_iam_role_policy.task'),
    (f"{MODULES}/fleet/workers.tf", 'Resource = [module.backbone.topic_arns["events"], module.backbone.topic_arns["mails"]]', 'Resource = "*"', "P3", 'worker["gateway"].aws_iam_role_policy.task'),
    (f"{MODULES}/worker/main.tf", 'resource "aws_iam_role_policy" "secrets" {',
     'resource "aws_iam_role_policy_attachment" "admin" {\n  role       = aws_iam_role.task.name\n'
     '  policy_arn = "arn:aws:iam::aws:policy/AdministratorAccess"\n}\n\nresource "aws_iam_role_policy" "secrets" {',
     "P2", 'worker["intake"].aws_iam_role_policy_attachment.admin'),
    (f"{MODULES}/fleet/main.tf", "  policy_arn = aws_iam_policy.scale.arn", '  policy_arn = "arn:aws:iam::aws:policy/AmazonECS_FullAccess"',
     "P2", "module.fleet.aws_iam_role_policy_attachment.scale: arn:aws:iam::aws:policy/AmazonECS_FullAccess"),
    (f"{MODULES}/fleet/workers.tf", 'Action   = ["sns:ListSubscriptionsByTopic"]', 'NotAction = ["iam:*"]', "P2", "Subscriptions: NotAction"),
    (f"{MODULES}/fleet/workers.tf", 'Action   = ["sqs:SendMessage"]\n          Resource = local.queue["intake"]',
     'Action   = ["sqs:SendMessage"]\n          NotResource = local.queue["intake"]', "P2", "AnnounceLost: NotResource"),
    (f"{MODULES}/fleet/workers.tf", 'Action   = ["s3:ListBucketMultipartUploads"]\n          Resource = local.uploads',
     'Action   = ["s3:ListBucketMultipartUploads"]\n          Resource = "arn:aws:s3:::*"', "P3", "on every resource (arn:aws:s3:::*)"),
    (f"{MODULES}/fleet/main.tf", '"arn:${local.partition}:ecs:${var.region}:${local.account}:service/${var.prefix}/${var.prefix}-${name}"',
     '"arn:${local.partition}:ecs:${var.region}:${local.account}:service/*"', "P3", "module.fleet.aws_iam_policy.scale"),
    (f"{MODULES}/queue/main.tf", '''      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = aws_sqs_queue.dead_letters.arn
      Condition = local.tls_only
''', '''      Effect    = "Allow"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = aws_sqs_queue.dead_letters.arn
''', "P4", 'queue["intake"].aws_sqs_queue_policy.dead_letters'),
    (f"{MODULES}/alerts/main.tf", '      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }\n', "",
     "P5", "module.alerts.aws_sns_topic_policy.alerts"),
    (f"{MODULES}/buckets/main.tf", '{ Bool = { "aws:SecureTransport" = "false" } }', '{ Bool = { "aws:SecureTransport" = "true" } }',
     "P6", 'aws_s3_bucket_policy.bucket["outputs"]'),
    (f"{MODULES}/fleet/workers.tf", '["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"]\n          Resource = values',
     '["sqs:DeleteMessage", "sqs:ReceiveMessage"]\n          Resource = values', "P7", 'worker["gateway"].aws_iam_role_policy.task'),
    (f"{MODULES}/queue/main.tf", '''  receive_wait_time_seconds         = 20
  kms_master_key_id                 = var.kms_key_arn
''', '''  receive_wait_time_seconds         = 20
''', "Q1", 'queue["probe"].aws_sqs_queue.queue'),
    ("schema/topology.json", '"task_limit_seconds": 1800, "visibility_seconds": 1860 },\n    "express"',
     '"task_limit_seconds": 1800, "visibility_seconds": 90 },\n    "express"', "Q2", 'queue["transcode"].aws_sqs_queue.queue'),
    (f"{MODULES}/queue/main.tf", "maxReceiveCount     = var.max_receives", "maxReceiveCount     = 1",
     "Q3", 'queue["thumbnail"].aws_sqs_queue.queue'),
    (f"{MODULES}/queue/main.tf", 'resource "aws_cloudwatch_metric_alarm" "dead_letters" {\n  count               = var.alarms ? 1 : 0',
     'resource "aws_cloudwatch_metric_alarm" "dead_letters" {\n  count = 0', "Q4", "no alarm dead_letters"),
    (f"{MODULES}/backbone/main.tf", '= "${var.prefix}-${each.key}"\n', '= "${var.prefix}_${each.key}"\n', "Q5", "reelfleet_metadata"),
    (f"{MODULES}/key/main.tf", '["s3", "sns", "cloudwatch", "budgets"]', '["sns", "cloudwatch", "budgets"]',
     "E1", "s3.amazonaws.com can't use the key"),
    (f"{MODULES}/queue/main.tf", "raw_message_delivery = var.subscription.raw", "raw_message_delivery = false",
     "E2", 'queue["metadata"].aws_sns_topic_subscription'),
    (f"{MODULES}/buckets/main.tf", "block_public_policy     = true", "block_public_policy     = false",
     "B1", 'aws_s3_bucket_public_access_block.bucket["uploads"]'),
    (f"{MODULES}/buckets/main.tf", '    status = "Enabled"\n  }\n}\n\nresource "aws_s3_bucket_server',
     '    status = "Suspended"\n  }\n}\n\nresource "aws_s3_bucket_server', "B2", "aws_s3_bucket_versioning.uploads"),
    (f"{MODULES}/buckets/main.tf", 'id     = "unfinished"\n    status = "Enabled"', 'id     = "unfinished"\n    status = "Disabled"',
     "B3", 'aws_s3_bucket.bucket["uploads"]'),
    (f"{MODULES}/buckets/main.tf", '"AES256" : "aws:kms"', '"AES256" : "AES256"', "B4", 'aws_s3_bucket.bucket["outputs"]'),
    (f"{MODULES}/buckets/main.tf", "events    = var.events", 'events    = ["s3:ObjectCreated:Put"]', "B5", "aws_s3_bucket_notification"),
    (f"{MODULES}/buckets/main.tf", 'each.key == "uploads" && var.original_days != null', "var.original_days != null",
     "B7", 'aws_s3_bucket.bucket["outputs"]'),
    (f"{MODULES}/buckets/main.tf", '["s3:GetObject", "s3:GetObjectVersion"]\n    Resource  = "${aws', '["s3:GetObject"]\n    Resource  = "${aws',
     "B6", 'aws_s3_bucket_policy.bucket["uploads"]'),
    (PRODUCTION, "cpu = 4096, memory = 8192, min = 0, max = 500", "cpu = 4096, memory = 4096, min = 0, max = 500", "T1", 'worker["transcoder"].aws_ecs_task_definition'),
    (f"{MODULES}/worker/main.tf", "readonlyRootFilesystem = true", "readonlyRootFilesystem = false",
     "T2", 'worker["intake"].aws_ecs_task_definition'),
    (f"{MODULES}/fleet/main.tf", 'user                   = "10001:10001"', 'user                   = "root"',
     "T3", "aws_ecs_task_definition.migrate"),
    (f"{MODULES}/worker/main.tf", "stopTimeout = 120", "stopTimeout = 30", "T4", 'worker["janitor"].aws_ecs_task_definition'),
    (f"{MODULES}/worker/main.tf", "    healthCheck = {", "    healthChecks = {", "T5", "nobody sees that it hangs"),
    (f"{MODULES}/fleet/workers.tf", "          REELFLEET_SIGN_UP         = var.sign_up",
     "          REELFLEET_SIGN_UP         = var.sign_up\n          REELFLEET_SESSION_SECRET = var.origin_secret",
     "T6", 'worker["gateway"].aws_ecs_task_definition'),
    (f"{MODULES}/fleet/workers.tf", "REELFLEET_OUTPUTS_BUCKET  ", "REELFLEET_OUTPUT_BUCKET  ", "T7", "REELFLEET_OUTPUT_BUCKET"),
    (f"{MODULES}/fleet/workers.tf", '["worker", "metadata"]', '["worker", "describer"]', "T8", 'worker["metadata"].aws_ecs_task_definition'),
    (f"{MODULES}/worker/main.tf", "length(local.pool) == 0 && var.max > var.min ? 1 : 0", "0",
     "S1", 'worker["gateway"].aws_ecs_service.service: 2 to 10 tasks, and nothing decides'),
    (f"{MODULES}/worker/main.tf", "(FILL(visible_${id}, 0) + FILL(in_flight_${id}, 0))", "(FILL(visible_${id}, 0))",
     "S2", 'worker["transcoder"].aws_appautoscaling_policy.work'),
    (f"{MODULES}/worker/main.tf", 'resource "aws_cloudwatch_metric_alarm" "first" {\n  count               = length(aws_appautoscaling_policy.first)',
     'resource "aws_cloudwatch_metric_alarm" "first" {\n  count = 0', "S3", 'worker["thumbnailer"].aws_ecs_service'),
    (f"{MODULES}/worker/main.tf", "assign_public_ip = var.public_addresses", "assign_public_ip = true",
     "S4", 'worker["metadata"].aws_ecs_service'),
    (f"{MODULES}/worker/main.tf", "target_value       = var.pool.target_latency_s", "target_value       = 2 * var.pool.target_latency_s",
     "S5", 'worker["thumbnailer"].aws_appautoscaling_policy.work'),
    (f"{MODULES}/database/main.tf", "storage_encrypted           = true", "storage_encrypted           = false", "D1", "aws_rds_cluster"),
    (f"{MODULES}/database/main.tf", "enable_http_endpoint        = true", "enable_http_endpoint        = false", "D2", "aws_rds_cluster"),
    (f"{MODULES}/database/main.tf", "manage_master_user_password = true", 'master_password = "reelfleet"', "D3", "aws_rds_cluster"),
    (f"{MODULES}/database/main.tf", "backup_retention_period     = var.backup_days", "backup_retention_period     = 1", "D4", "aws_rds_cluster"),
    (f"{MODULES}/database/main.tf", "publicly_accessible  = false", "publicly_accessible  = true", "D5", "aws_rds_cluster_instance"),
    (f"{MODULES}/edge/cloudfront.tf", '"redirect-to-https"\n    allowed_methods          =', '"allow-all"\n    allowed_methods          =',
     "C1", "* by plain HTTP"),
    (f"{MODULES}/edge/cloudfront.tf", "      trusted_key_groups     = [ordered_cache_behavior.value.id]\n", "", "C2", "/out/* for everybody"),
    (f"{MODULES}/edge/cloudfront.tf", "web_acl_id      = aws_wafv2_web_acl.public.arn", 'web_acl_id      = ""', "C3", "no firewall"),
    (f"{MODULES}/edge/cloudfront.tf", '''      allowed_methods        = ["GET", "HEAD"]
      cached_methods         = ["GET", "HEAD"]
      cache_policy_id        = aws_cloudfront_cache_policy.playback.id
''', '''      allowed_methods        = ["GET", "HEAD"]
      cached_methods         = ["GET", "HEAD"]
      cache_policy_id        = "658327ea-f89d-4fab-a63d-7e88639e58f6"
''', "C4", "/out/* is kept for more than 60 s"),
    (f"{MODULES}/edge/main.tf", "  prefix_list_id    = data.aws_ec2_managed_prefix_list.cloudfront.id", '  cidr_ipv4         = "0.0.0.0/0"',
     "N1", "aws_vpc_security_group_ingress_rule.balancer"),
    (f"{MODULES}/key/main.tf", "enable_key_rotation     = true", "enable_key_rotation     = false", "K1", "aws_kms_key"),
    (f"{MODULES}/alerts/main.tf", "for_each  = toset(var.emails)", "for_each  = toset([])", "A1", "alarms wake nobody"),
    (f"{MODULES}/database/main.tf", "alarm_actions       = var.alarm_topic_arns", "alarm_actions       = []",
     "A2", "module.database.aws_cloudwatch_metric_alarm.capacity"),
    (f"{MODULES}/fleet/main.tf", "type = each.value.types", 'type = ["approval.request.v1"]', "A3", "event_email"),
    (f"{MODULES}/fleet/main.tf", ", tenant = coalescelist(each.value.tenants, [var.tenant]) })", " })", "A4", 'event_email["press@example.com"]'),
]


def copy(root, name):
    """A copy of what Terraform reads, and links to what the check reads besides."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"mistakes-{name}-"))
    for part in ("terraform", "schema"):
        shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns(".terraform"))
    for part in ("shared", "workers", "gateway", "cli"):
        (folder / part).symlink_to((root / part).resolve())
    return folder


def sow(folder, mistakes):
    for file, stands, wrong, *_ in mistakes:
        path = folder / file
        text = path.read_text()
        if text.count(stands) != 1:
            raise SystemExit(f"{file}: {stands!r} stands there {text.count(stands)} times: bring the mistake up to date")
        path.write_text(text.replace(stands, wrong))


def terraform(folder, work, environment, *arguments):
    done = subprocess.run(
        ["terraform", *arguments], cwd=folder / "terraform/environments" / environment, capture_output=True, text=True,
        env={**os.environ, "TF_DATA_DIR": str(work / environment)},
    )
    return done.stdout + done.stderr


def format_says(root, _work):
    folder = copy(root, "format")
    sow(folder, FORMAT)
    said = subprocess.run(["terraform", "fmt", "-check", "-recursive", "terraform"], cwd=folder, capture_output=True, text=True)
    shutil.rmtree(folder)
    return [(f"fmt: {mark}", mark in said.stdout and said.returncode != 0) for *_, mark in FORMAT]


def validate_says(mistakes):
    def run(root, work):
        folder = copy(root, "validate")
        sow(folder, mistakes)
        said = json.loads(terraform(folder, work, "production", "validate", "-json"))
        shutil.rmtree(folder)
        texts = "\n".join(f"{one['summary']} {one['detail']}" for one in said["diagnostics"])
        return [(f"validate: {mark}", mark in texts) for *_, mark in mistakes]

    return run


def test_says(mistakes):
    def run(root, work):
        folder = copy(root, "test")
        sow(folder, mistakes)
        said = terraform(folder, work, "production", "test", "-json")
        shutil.rmtree(folder)
        found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        texts = "\n".join(f"{one['diagnostic']['summary']} {one['diagnostic']['detail']}" for one in found if one.get("diagnostic"))
        return [(f"test: {mark}", mark in " ".join(texts.split())) for *_, mark in mistakes]

    return run


def policy_says(root, work):
    folder = copy(root, "policy")
    sow(folder, POLICY)
    state = folder / "state.json"
    state.write_text(terraform(folder, work, "production", "test", "-json", "-verbose"))
    found = [f"{rule} {address}: {problem}" for rule, address, problem in policy.violations(state, folder)]
    shutil.rmtree(folder)
    return [
        (f"{rule}: {mark}", any(line.startswith(f"{rule} ") and mark in line for line in found)) for *_, rule, mark in POLICY
    ]


def main():
    root, work = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    checks = [policy_says, *(test_says([one]) for one in REFUSED), test_says(ASSERTED)]
    checks += [*(validate_says(some) for some in (VALIDATE, QUEUE, MISSING, CALL)), format_says]
    with ThreadPoolExecutor(2) as pool:
        caught = [one for says in pool.map(lambda check: check(root, work), checks) for one in says]
    missed = [name for name, found in caught if not found]
    for name in missed:
        print(f"terraform: this mistake went through: {name}", file=sys.stderr)
    print(f"terraform: {len(caught) - len(missed)} of {len(caught)} sown mistakes caught")
    return 1 if missed or len(caught) < 30 else 0


if __name__ == "__main__":
    sys.exit(main())
