variable "prefix" {
  description = "Name of this fleet: everything made begins with it."
  type        = string
  default     = "reelfleet"
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "domain" {
  description = "Name of the service, such as media.example.com."
  type        = string
}

variable "zone_id" {
  description = "Route 53 zone of the domain."
  type        = string
}

variable "image_tag" {
  description = "Tag of the images that run."
  type        = string
}

variable "alert_emails" {
  description = "Whom alarms and the budget tell."
  type        = list(string)
}

variable "monthly_budget_usd" {
  description = "What it may cost in a month before people are told."
  type        = number
}

variable "origin_secret" {
  description = "What CloudFront says to the load balancer: openssl rand -hex 32."
  type        = string
  sensitive   = true
}

variable "mail_from" {
  description = "Sender of mails; empty: none are sent."
  type        = string
  default     = ""
}

variable "sign_up" {
  description = "Who may make an account: open, invited, closed."
  type        = string
  default     = "invited"
}

variable "approval" {
  description = "REELFLEET_APPROVAL: none, always or a JSON list of rules."
  type        = string
  default     = "none"
}

variable "reviewers" {
  description = "Mail addresses of reviewers."
  type        = list(string)
  default     = []
}

variable "oidc" {
  description = "Sign-in by another service: issuer and client; null: none. Its client secret is the secret `oidc`."
  type        = object({ issuer = string, client_id = string })
  default     = null
}

variable "media_public_key" {
  description = "PEM of the key by which an application of one's own signs cookies for out/*; null: none."
  type        = string
  default     = null
}

variable "event_emails" {
  description = "Who is mailed what by SNS: address to types, such as approval.requested.v1, and whose; no tenant named: that of the bucket."
  type        = map(object({ types = list(string), tenants = optional(list(string), []) }))
  default     = {}
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

variable "otlp_endpoint" {
  description = "OTEL_EXPORTER_OTLP_ENDPOINT: where traces go, such as http://collector.internal:4318; empty: nowhere."
  type        = string
  default     = ""
}

variable "extra_environment" {
  description = "More environment variables by worker, for settings that have no variable here."
  type        = map(map(string))
  default     = {}
}
