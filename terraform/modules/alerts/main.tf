# Whom alarms wake, and what it may cost.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "prefix" {
  description = "Names begin with it."
  type        = string
}

variable "account_id" {
  description = "Account whose alarms may publish."
  type        = string
}

variable "kms_key_arn" {
  description = "Key that encrypts."
  type        = string
}

variable "emails" {
  description = "Who is told; each must confirm the mail that AWS sends."
  type        = list(string)

  validation {
    condition     = length(var.emails) > 0 && alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "At least one e-mail address: alarms that nobody reads are worth nothing."
  }
}

variable "monthly_budget_usd" {
  description = "What everything with this name may cost in a month."
  type        = number

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "More than nothing."
  }
}

resource "aws_sns_topic" "alerts" {
  name              = "${var.prefix}-alerts"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "alerts" {
  arn = aws_sns_topic.alerts.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [for service in ["cloudwatch", "budgets"] : {
      Sid       = service
      Effect    = "Allow"
      Principal = { Service = "${service}.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alerts.arn
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = toset(var.emails)
  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.value
}

# Counts what bears the tag `fleet`, once it is activated as a cost allocation tag (docs/deploy.md).
resource "aws_budgets_budget" "monthly" {
  name         = var.prefix
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:fleet$%s", var.prefix)]
  }

  dynamic "notification" {
    for_each = { half = ["ACTUAL", 50], most = ["ACTUAL", 90], soon = ["FORECASTED", 100] }
    content {
      notification_type          = notification.value[0]
      threshold                  = notification.value[1]
      threshold_type             = "PERCENTAGE"
      comparison_operator        = "GREATER_THAN"
      subscriber_email_addresses = var.emails
      subscriber_sns_topic_arns  = [aws_sns_topic.alerts.arn]
    }
  }

  depends_on = [aws_sns_topic_policy.alerts]
}

output "topic_arns" {
  description = "Whom alarms tell."
  value       = [aws_sns_topic.alerts.arn]
}
