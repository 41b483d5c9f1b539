variable "prefix" {
  description = "Name of this fleet: everything made begins with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,17}$", var.prefix))
    error_message = "2 to 18 small letters, digits and dashes, a letter first: names of load balancers are short."
  }
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
  description = "Tag of the images; never latest: a tag is pushed once."
  type        = string

  validation {
    condition     = var.image_tag != "latest" && var.image_tag != ""
    error_message = "Name a version, so that one can go back."
  }
}

variable "alert_emails" {
  description = "Whom alarms and the budget tell."
  type        = list(string)
}

variable "monthly_budget_usd" {
  description = "What it may cost in a month."
  type        = number
}

variable "origin_secret" {
  description = "What CloudFront says to the load balancer: openssl rand -hex 32."
  type        = string
  sensitive   = true
}

variable "network_profile" {
  description = "public: tasks have addresses, nothing is paid per zone. private: interface endpoints."
  type        = string
}

variable "nat" {
  description = "A NAT gateway for the private profile: mails, webhooks, sign-in by others."
  type        = bool
  default     = false
}

variable "database" {
  description = "Aurora capacity units, readers, days of backup."
  type = object({
    min_capacity = number
    max_capacity = number
    readers      = number
    backup_days  = number
  })
}

variable "sizes" {
  description = "CPU units, MiB and number of tasks of each worker."
  type        = map(object({ cpu = number, memory = number, min = number, max = number }))

  validation {
    condition = alltrue([
      for name in ["intake", "transcoder", "backfill", "thumbnailer", "metadata", "notifier", "janitor", "gateway"] :
      contains(keys(var.sizes), name)
    ])
    error_message = "Each worker needs a size."
  }
  validation {
    condition     = alltrue([for size in values(var.sizes) : size.min <= size.max])
    error_message = "min is more than max."
  }
  validation {
    condition     = alltrue([for name in ["metadata", "notifier", "janitor", "gateway"] : try(var.sizes[name].min >= 1, true)])
    error_message = "Gateway, notifier, metadata and janitor are not woken by a queue: at least one of each."
  }
}

variable "spot_weight" {
  description = "Of the workers that are scaled: tasks on Fargate Spot for each on Fargate."
  type        = number
  default     = 4
}

variable "tenant" {
  description = "Whose objects are that land in the uploads bucket without an upload of the API."
  type        = string
  default     = "default"
}

variable "sign_up" {
  description = "Who may make an account: open, invited, closed."
  type        = string
  default     = "invited"

  validation {
    condition     = contains(["open", "invited", "closed"], var.sign_up)
    error_message = "open, invited or closed."
  }
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

variable "mail_from" {
  description = "Sender of mails; empty: none are sent."
  type        = string
  default     = ""
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

variable "edge_cache_seconds" {
  description = "How long CloudFront keeps what is played."
  type        = number
  default     = 60

  validation {
    condition     = var.edge_cache_seconds >= 0 && var.edge_cache_seconds <= 60
    error_message = "0 to 60: nothing at the edge is invalidated, so this is how long a deleted asset may still be seen."
  }
}

variable "rate_limit" {
  description = "Requests of one address within 5 minutes."
  type        = number
  default     = 3000
}

variable "price_class" {
  description = "Which edges serve."
  type        = string
  default     = "PriceClass_100"
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

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
}

variable "deletion_protection" {
  description = "Whether database and load balancer refuse to be destroyed."
  type        = bool
  default     = true
}

variable "event_emails" {
  description = "Who is mailed what by SNS: address to types, such as approval.requested.v1, and whose; no tenant named: that of the bucket."
  type        = map(object({ types = list(string), tenants = optional(list(string), []) }))
  default     = {}

  validation {
    condition     = alltrue([for wish in values(var.event_emails) : length(wish.types) > 0])
    error_message = "Name the types: without one, an address would be mailed everything."
  }
}

variable "otlp_endpoint" {
  description = "OTEL_EXPORTER_OTLP_ENDPOINT: where traces go, such as http://collector.internal:4318; empty: nowhere."
  type        = string
  default     = ""

  validation {
    condition     = var.otlp_endpoint == "" || can(regex("^https?://[^/?#]+", var.otlp_endpoint))
    error_message = "A URL of OTLP over HTTP: its port is 4318, mostly."
  }
}

variable "extra_environment" {
  description = "More environment variables by worker, for settings that have no variable here."
  type        = map(map(string))
  default     = {}
}
