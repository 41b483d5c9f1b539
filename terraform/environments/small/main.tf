# The least that works: everything that is idle sleeps, nothing is paid per zone, one task of what must be there.
terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
  # The state names the origin's secret: keep it in a bucket that only deployers read (docs/deploy.md).
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { fleet = var.prefix }
  }
}

# Certificates and firewall of CloudFront live there, whatever the region.
provider "aws" {
  alias  = "global"
  region = "us-east-1"
  default_tags {
    tags = { fleet = var.prefix }
  }
}

module "fleet" {
  source = "../../modules/fleet"
  providers = {
    aws        = aws
    aws.global = aws.global
  }

  prefix             = var.prefix
  region             = var.region
  domain             = var.domain
  zone_id            = var.zone_id
  image_tag          = var.image_tag
  alert_emails       = var.alert_emails
  monthly_budget_usd = var.monthly_budget_usd
  origin_secret      = var.origin_secret
  mail_from          = var.mail_from
  sign_up            = var.sign_up
  approval           = var.approval
  reviewers          = var.reviewers
  media_public_key   = var.media_public_key
  oidc               = var.oidc
  event_emails       = var.event_emails
  original_days      = var.original_days
  quarantine_readers = var.quarantine_readers
  otlp_endpoint      = var.otlp_endpoint
  extra_environment  = var.extra_environment

  network_profile = "public"
  database        = { min_capacity = 0, max_capacity = 4, readers = 0, backup_days = 7 }
  sizes = {
    gateway     = { cpu = 256, memory = 512, min = 1, max = 2 }
    notifier    = { cpu = 256, memory = 512, min = 1, max = 1 }
    metadata    = { cpu = 256, memory = 512, min = 1, max = 1 }
    janitor     = { cpu = 256, memory = 512, min = 1, max = 1 }
    intake      = { cpu = 512, memory = 1024, min = 1, max = 4 }
    transcoder  = { cpu = 2048, memory = 4096, min = 0, max = 10 }
    backfill    = { cpu = 2048, memory = 4096, min = 0, max = 4 }
    thumbnailer = { cpu = 1024, memory = 2048, min = 0, max = 4 }
  }
}
