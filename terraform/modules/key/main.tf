# One customer-managed key for buckets, topics, queues, database, secrets and logs.
#
# S3 and SNS can use an encrypted topic or queue only by a key whose policy names them, so the AWS-managed keys won't do.

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
  description = "Account that owns the key."
  type        = string
}

variable "partition" {
  description = "aws, aws-cn or aws-us-gov."
  type        = string
}

variable "region" {
  description = "Region of the log groups."
  type        = string
}

locals {
  use = ["kms:Decrypt", "kms:GenerateDataKey*"]
  root = {
    Sid       = "Account"
    Effect    = "Allow"
    Principal = { AWS = "arn:${var.partition}:iam::${var.account_id}:root" }
    Action    = "kms:*"
    Resource  = "*"
  }
  # Services that act on behalf of this account only.
  services = [
    for service in ["s3", "sns", "cloudwatch", "budgets"] : {
      Sid       = service
      Effect    = "Allow"
      Principal = { Service = "${service}.amazonaws.com" }
      Action    = local.use
      Resource  = "*"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }
  ]
  cloudfront = {
    Sid       = "cloudfront"
    Effect    = "Allow"
    Principal = { Service = "cloudfront.amazonaws.com" }
    Action    = ["kms:Decrypt"]
    Resource  = "*"
    Condition = {
      StringLike = { "aws:SourceArn" = "arn:${var.partition}:cloudfront::${var.account_id}:distribution/*" }
    }
  }
  logs = {
    Sid       = "logs"
    Effect    = "Allow"
    Principal = { Service = "logs.${var.region}.amazonaws.com" }
    Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
    Resource  = "*"
    Condition = {
      ArnLike = {
        "kms:EncryptionContext:aws:logs:arn" = "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:/${var.prefix}/*"
      }
    }
  }
}

resource "aws_kms_key" "key" {
  description             = "${var.prefix}: objects, messages, rows, secrets, logs"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.root], local.services, [local.cloudfront, local.logs])
  })
}

resource "aws_kms_alias" "key" {
  name          = "alias/${var.prefix}"
  target_key_id = aws_kms_key.key.key_id
}

output "arn" {
  description = "ARN of the key."
  value       = aws_kms_key.key.arn
}
