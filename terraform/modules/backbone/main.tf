# What the fleet speaks through: buckets, topics, queues, and what feeds what. The facts are those of
# schema/topology.json, which `reelfleet up` provisions by too.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "prefix" {
  description = "REELFLEET_PREFIX: names of queues and topics begin with it."
  type        = string
}

variable "account_id" {
  description = "REELFLEET_ACCOUNT: the account that owns it all."
  type        = string
}

variable "partition" {
  description = "aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "bucket_names" {
  description = "REELFLEET_UPLOADS and REELFLEET_OUTPUTS_BUCKET."
  type        = object({ uploads = string, outputs = string })
}

variable "kms_key_arn" {
  description = "Key of buckets, topics and queues; null: the services' own."
  type        = string
  default     = null
}

variable "alarms" {
  description = "Whether CloudWatch watches the queues."
  type        = bool
  default     = true
}

variable "alarm_topic_arns" {
  description = "Whom alarms tell."
  type        = list(string)
  default     = []
}

variable "outputs_statements" {
  description = "Who may read the outputs bucket besides the fleet."
  type        = any
  default     = []
}

variable "force_destroy" {
  description = "Whether `terraform destroy` may delete buckets that hold objects."
  type        = bool
  default     = false
}

variable "quarantine_days" {
  description = "Days that a source rejected by a reviewer is kept."
  type        = number
  default     = 30
}

variable "original_days" {
  description = "Days after which originals expire; null: never."
  type        = number
  default     = null
}

variable "quarantine_readers" {
  description = "ARNs of the only roles or users that may read a source in quarantine; none: nobody."
  type        = list(string)
  default     = []
}

locals {
  topology = jsondecode(file("${path.module}/../../../schema/topology.json"))
  bucket_arns = {
    for role, name in var.bucket_names : role => "arn:${var.partition}:s3:::${name}"
  }
}

module "topics" {
  source             = "../topics"
  prefix             = var.prefix
  names              = local.topology.topics
  account_id         = var.account_id
  uploads_bucket_arn = local.bucket_arns.uploads
  kms_key_arn        = var.kms_key_arn
}

module "queue" {
  source   = "../queue"
  for_each = local.topology.queues

  name                          = "${var.prefix}-${each.key}"
  dead_letter_name              = "${var.prefix}-${each.key}${local.topology.dead_letters.suffix}"
  account_id                    = var.account_id
  visibility_seconds            = each.value.visibility_seconds
  retention_seconds             = local.topology.retention_seconds
  dead_letter_retention_seconds = local.topology.dead_letters.retention_seconds
  max_receives                  = local.topology.dead_letters.max_receives
  kms_key_arn                   = var.kms_key_arn
  alarms                        = var.alarms
  alarm_topic_arns              = var.alarm_topic_arns
  # A long task holds its message; only what nobody has taken yet has been waiting.
  oldest_message_seconds = max(900, 2 * each.value.task_limit_seconds)
  subscription = contains(keys(local.topology.subscriptions), each.key) ? {
    topic_arn = module.topics.arns[local.topology.subscriptions[each.key].topic]
    raw       = local.topology.subscriptions[each.key].raw
    filter    = local.topology.subscriptions[each.key].filter
  } : null
}

module "buckets" {
  source             = "../buckets"
  names              = var.bucket_names
  kms_key_arn        = var.kms_key_arn
  uploads_topic_arn  = module.topics.arns["uploads"]
  notification_id    = "${var.prefix}-uploads"
  events             = local.topology.upload_events
  cors               = local.topology.upload_cors
  outputs_statements = var.outputs_statements
  force_destroy      = var.force_destroy
  quarantine_days    = var.quarantine_days
  original_days      = var.original_days
  quarantine_readers = var.quarantine_readers
}

output "bucket_arns" {
  description = "ARNs of the buckets by role."
  value       = module.buckets.arns
}

output "bucket_names" {
  description = "Names of the buckets by role."
  value       = module.buckets.names
}

output "outputs_domain" {
  description = "Regional domain name of the outputs bucket."
  value       = module.buckets.outputs_domain
}

output "topic_arns" {
  description = "ARNs of the topics by name without the prefix."
  value       = module.topics.arns
}

output "queues" {
  description = "Queues by name without the prefix: arn, dead_letter_arn, name, url."
  value       = module.queue
}

output "topology" {
  description = "schema/topology.json."
  value       = local.topology
}
