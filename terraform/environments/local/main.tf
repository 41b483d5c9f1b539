# Buckets, topics and queues on `reelfleet local`: what scripts/terraform.sh applies for real, and the way to try a change
# of them without an account. Workers, database and edge have no counterpart there.

terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "endpoint" {
  description = "URL of `reelfleet local`."
  type        = string
}

variable "prefix" {
  description = "REELFLEET_PREFIX."
  type        = string
  default     = "reelfleet"
}

provider "aws" {
  region                      = "us-east-1"
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    s3  = var.endpoint
    sns = var.endpoint
    sqs = var.endpoint
  }
}

module "backbone" {
  source        = "../../modules/backbone"
  prefix        = var.prefix
  account_id    = "000000000000"
  bucket_names  = { uploads = "${var.prefix}-uploads", outputs = "${var.prefix}-outputs" }
  alarms        = false
  force_destroy = true
}

output "bucket_names" {
  description = "Names of the buckets."
  value       = module.backbone.bucket_names
}

output "queue_urls" {
  description = "URLs of the queues."
  value       = { for name, queue in module.backbone.queues : name => queue.url }
}

output "topic_arns" {
  description = "ARNs of the topics."
  value       = module.backbone.topic_arns
}
