# The two topics: what lands in the uploads bucket, and what happens in the fleet.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "prefix" {
  description = "REELFLEET_PREFIX: names begin with it."
  type        = string
}

variable "names" {
  description = "Topics without the prefix (schema/topology.json)."
  type        = list(string)
}

variable "account_id" {
  description = "Account whose buckets may publish."
  type        = string
}

variable "uploads_bucket_arn" {
  description = "The only bucket that may publish to the topic of uploads."
  type        = string
}

variable "kms_key_arn" {
  description = "Key that encrypts; null: none. Its policy must let S3 use it, or the bucket's notification is refused."
  type        = string
  default     = null
}

resource "aws_sns_topic" "topic" {
  for_each          = toset(var.names)
  name              = "${var.prefix}-${each.value}"
  kms_master_key_id = var.kms_key_arn
}

# Only this bucket, and only as this account's: a bucket of the same name elsewhere can't feed the fleet.
resource "aws_sns_topic_policy" "uploads" {
  arn = aws_sns_topic.topic["uploads"].arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "reelfleet"
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.topic["uploads"].arn
      Condition = {
        ArnEquals    = { "aws:SourceArn" = [var.uploads_bucket_arn] }
        StringEquals = { "aws:SourceAccount" = var.account_id }
      }
    }]
  })
}

output "arns" {
  description = "ARNs by name without the prefix. Known only once S3 may publish."
  value       = { for name in var.names : name => aws_sns_topic.topic[name].arn }
  depends_on  = [aws_sns_topic_policy.uploads]
}
