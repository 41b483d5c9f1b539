# One queue: the queue, its dead-letter queue, who may send, the subscription that feeds it, and what wakes a person.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "name" {
  description = "Full name of the queue."
  type        = string
}

variable "dead_letter_name" {
  description = "Full name of its dead-letter queue."
  type        = string
}

variable "account_id" {
  description = "Account that the topic must be of."
  type        = string
}

variable "visibility_seconds" {
  description = "For whoever receives without saying how long; the fleet says so on each receive."
  type        = number

  validation {
    condition     = var.visibility_seconds <= 43200
    error_message = "SQS hides a message for 12 hours at most."
  }
}

variable "retention_seconds" {
  description = "How long a message waits."
  type        = number
}

variable "dead_letter_retention_seconds" {
  description = "How long a dead letter waits, counted from the first time the message was sent."
  type        = number

  validation {
    condition     = var.dead_letter_retention_seconds > var.retention_seconds
    error_message = "A dead letter keeps the age it had in its source: it must be kept longer than there."
  }
}

variable "max_receives" {
  description = "A message moves to the dead-letter queue on the receive after this many."
  type        = number
}

variable "subscription" {
  description = "The topic that feeds it; null: only the fleet sends."
  type        = object({ topic_arn = string, raw = bool, filter = any })
  default     = null
}

variable "kms_key_arn" {
  description = "Key that encrypts; null: SQS's own."
  type        = string
  default     = null
}

variable "alarm_topic_arns" {
  description = "Whom alarms tell; empty: no alarms."
  type        = list(string)
  default     = []
}

variable "oldest_message_seconds" {
  description = "Age of the oldest message at which a person is told."
  type        = number
  default     = 900
}

variable "alarms" {
  description = "Whether CloudWatch watches the queue."
  type        = bool
  default     = true
}

locals {
  tls_only = { Bool = { "aws:SecureTransport" = "false" } }
}

resource "aws_sqs_queue" "dead_letters" {
  name                              = var.dead_letter_name
  message_retention_seconds         = var.dead_letter_retention_seconds
  kms_master_key_id                 = var.kms_key_arn
  kms_data_key_reuse_period_seconds = var.kms_key_arn == null ? null : 3600
  sqs_managed_sse_enabled           = var.kms_key_arn == null ? true : null
}

resource "aws_sqs_queue" "queue" {
  name                              = var.name
  visibility_timeout_seconds        = var.visibility_seconds
  message_retention_seconds         = var.retention_seconds
  receive_wait_time_seconds         = 20
  kms_master_key_id                 = var.kms_key_arn
  kms_data_key_reuse_period_seconds = var.kms_key_arn == null ? null : 3600
  sqs_managed_sse_enabled           = var.kms_key_arn == null ? true : null
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = var.max_receives
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.queue.arn]
  })
}

resource "aws_sqs_queue_policy" "queue" {
  queue_url = aws_sqs_queue.queue.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.queue.arn
        Condition = local.tls_only
      }],
      [for subscription in var.subscription[*] : {
        Sid       = "reelfleet"
        Effect    = "Allow"
        Principal = { Service = "sns.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.queue.arn
        Condition = {
          ArnEquals    = { "aws:SourceArn" = subscription.topic_arn }
          StringEquals = { "aws:SourceAccount" = var.account_id }
        }
      }],
    )
  })
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = aws_sqs_queue.dead_letters.arn
      Condition = local.tls_only
    }]
  })
}

resource "aws_sns_topic_subscription" "queue" {
  count                = var.subscription == null ? 0 : 1
  topic_arn            = var.subscription.topic_arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.queue.arn
  raw_message_delivery = var.subscription.raw
  filter_policy        = var.subscription.filter == null ? null : jsonencode(var.subscription.filter)
  depends_on           = [aws_sqs_queue_policy.queue]
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  count               = var.alarms ? 1 : 0
  alarm_name          = "${var.dead_letter_name}-not-empty"
  alarm_description   = "Something was given up. docs/runbooks.md: dead letters. Look: reelfleet dlq ls"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "age" {
  count               = var.alarms ? 1 : 0
  alarm_name          = "${var.name}-waits"
  alarm_description   = "The oldest message waits too long. docs/runbooks.md: the backlog grows. Look: reelfleet status"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.queue.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 10
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.oldest_message_seconds
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

output "arn" {
  description = "ARN of the queue."
  value       = aws_sqs_queue.queue.arn
}

output "dead_letter_arn" {
  description = "ARN of its dead-letter queue."
  value       = aws_sqs_queue.dead_letters.arn
}

output "name" {
  description = "Full name of the queue."
  value       = aws_sqs_queue.queue.name
}

output "url" {
  description = "URL of the queue."
  value       = aws_sqs_queue.queue.url
}
