# The two buckets: what is uploaded, and what the fleet makes. Encrypted, closed to the public, TLS only.
#
# Uploads are versioned: a source that was overwritten is still there. Outputs are not: they can be made again, their
# playlists are rewritten every few seconds, and a deleted asset must be gone, not hidden below a delete marker.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "names" {
  description = "Bucket names: uploads and outputs."
  type        = object({ uploads = string, outputs = string })
}

variable "kms_key_arn" {
  description = "Key that encrypts; null: S3's own."
  type        = string
  default     = null
}

variable "uploads_topic_arn" {
  description = "Topic that is told what lands and goes. Its policy must let the bucket publish before this module runs."
  type        = string
}

variable "cors" {
  description = "What browsers may send to the uploads bucket (schema/topology.json)."
  type = object({
    allowed_origins = list(string)
    allowed_methods = list(string)
    allowed_headers = list(string)
    expose_headers  = list(string)
    max_age_seconds = number
  })
}

variable "events" {
  description = "Storage events that are told (schema/topology.json)."
  type        = list(string)
}

variable "notification_id" {
  description = "Name of the notification."
  type        = string
}

variable "quarantine_days" {
  description = "Days that a source rejected by a reviewer is kept."
  type        = number
  default     = 30
}

variable "quarantine_readers" {
  description = "ARNs of the only roles or users that may read a source in quarantine, for an inquiry; wildcards are read. None: nobody."
  type        = list(string)
  default     = []
}

variable "unfinished_days" {
  description = "Days after which S3 aborts an unfinished multipart upload; more than REELFLEET_UPLOAD_TTL_S and REELFLEET_MULTIPART_DAYS (7 days)."
  type        = number
  default     = 8

  validation {
    condition     = var.unfinished_days > 7
    error_message = "An upload can be resumed for 7 days."
  }
}

variable "original_days" {
  description = "Days after which originals expire; null: never. Their bytes stay for old_version_days more (30), as a version that was replaced."
  type        = number
  default     = null

  validation {
    condition     = var.original_days == null ? true : var.original_days >= 8
    error_message = "8 days at least: a review may take 7, and what waits needs its source."
  }
}

variable "old_version_days" {
  description = "Days that versions are kept which were replaced or deleted."
  type        = number
  default     = 30

  validation {
    condition     = var.old_version_days >= 1
    error_message = "At least one day: S3 has no shorter lifecycle."
  }
}

variable "outputs_statements" {
  description = "More statements of the outputs bucket's policy: who may read besides the fleet."
  type        = any
  default     = []
}

variable "force_destroy" {
  description = "Whether `terraform destroy` may delete buckets that hold objects."
  type        = bool
  default     = false
}

locals {
  buckets = { uploads = var.names.uploads, outputs = var.names.outputs }
  arns    = { for role in keys(local.buckets) : role => aws_s3_bucket.bucket[role].arn }
  tls_only = {
    for role in keys(local.buckets) : role => {
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.bucket[role].arn, "${aws_s3_bucket.bucket[role].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }
  }
  # The gateway gives no link to what was rejected into quarantine; this closes the links that are out, and every other way.
  quarantine = {
    Sid       = "Quarantine"
    Effect    = "Deny"
    Principal = "*"
    Action    = ["s3:GetObject", "s3:GetObjectVersion"]
    Resource  = "${aws_s3_bucket.bucket["uploads"].arn}/*"
    Condition = merge(
      { StringEquals = { "s3:ExistingObjectTag/${local.quarantine_tag.key}" = local.quarantine_tag.value } },
      length(var.quarantine_readers) == 0 ? {} : { ArnNotLike = { "aws:PrincipalArn" = var.quarantine_readers } },
    )
  }
  # As the janitor sets it.
  quarantine_tag = { key = "reelfleet", value = "quarantine" }
}

resource "aws_s3_bucket" "bucket" {
  for_each      = local.buckets
  bucket        = each.value
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_public_access_block" "bucket" {
  for_each                = local.buckets
  bucket                  = aws_s3_bucket.bucket[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "bucket" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.bucket[each.key].id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "uploads" {
  bucket = aws_s3_bucket.bucket["uploads"].id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "bucket" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.bucket[each.key].id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
    bucket_key_enabled = var.kms_key_arn != null
  }
}

# The janitor aborts what it knows of; this takes what nobody knows of. A rejected source bears the janitor's tag.
resource "aws_s3_bucket_lifecycle_configuration" "bucket" {
  for_each   = local.buckets
  bucket     = aws_s3_bucket.bucket[each.key].id
  depends_on = [aws_s3_bucket_versioning.uploads]

  rule {
    id     = "unfinished"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = var.unfinished_days
    }
  }

  dynamic "rule" {
    for_each = each.key == "uploads" ? [1] : []
    content {
      id     = "replaced"
      status = "Enabled"
      filter {}
      # A marker below which nothing is left.
      expiration {
        expired_object_delete_marker = true
      }
      noncurrent_version_expiration {
        noncurrent_days = var.old_version_days
      }
    }
  }

  dynamic "rule" {
    for_each = each.key == "uploads" && var.original_days != null ? [1] : []
    content {
      id     = "originals"
      status = "Enabled"
      filter {}
      expiration {
        days = var.original_days
      }
    }
  }

  dynamic "rule" {
    for_each = each.key == "uploads" ? [1] : []
    content {
      id     = "quarantine"
      status = "Enabled"
      filter {
        tag {
          key   = local.quarantine_tag.key
          value = local.quarantine_tag.value
        }
      }
      expiration {
        days = var.quarantine_days
      }
    }
  }
}

resource "aws_s3_bucket_policy" "bucket" {
  for_each = local.buckets
  bucket   = aws_s3_bucket.bucket[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [local.tls_only[each.key]],
      [for statement in var.outputs_statements : statement if each.key == "outputs"],
      [for statement in [local.quarantine] : statement if each.key == "uploads"],
    )
  })
}

# The pre-signed URL is the right; the page's origin adds nothing to it.
resource "aws_s3_bucket_cors_configuration" "uploads" {
  bucket = aws_s3_bucket.bucket["uploads"].id
  cors_rule {
    allowed_origins = var.cors.allowed_origins
    allowed_methods = var.cors.allowed_methods
    allowed_headers = var.cors.allowed_headers
    expose_headers  = var.cors.expose_headers
    max_age_seconds = var.cors.max_age_seconds
  }
}

resource "aws_s3_bucket_notification" "uploads" {
  bucket = aws_s3_bucket.bucket["uploads"].id
  topic {
    id        = var.notification_id
    topic_arn = var.uploads_topic_arn
    events    = var.events
  }
}

output "arns" {
  description = "ARNs by role: uploads, outputs."
  value       = local.arns
}

output "names" {
  description = "Names by role: uploads, outputs."
  value       = { for role in keys(local.buckets) : role => aws_s3_bucket.bucket[role].id }
}

output "outputs_domain" {
  description = "Regional domain name of the outputs bucket, for CloudFront."
  value       = aws_s3_bucket.bucket["outputs"].bucket_regional_domain_name
}
