variable "prefix" {
  description = "Names begin with it."
  type        = string
}

variable "account_id" {
  description = "Account that owns it."
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

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "public_subnets" {
  description = "Where the load balancer stands."
  type        = list(string)
}

variable "task_security_group" {
  description = "Group of the tasks."
  type        = string
}

variable "ports" {
  description = "Ports of gateway, notifier and of the gateway's health."
  type        = object({ gateway = number, notifier = number, health = number })
}

variable "outputs_domain" {
  description = "Regional domain name of the outputs bucket."
  type        = string
}

variable "origin_secret" {
  description = "What CloudFront says to the load balancer, at least 32 characters. It is in the state, as the state is to be guarded anyway."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.origin_secret) >= 32
    error_message = "At least 32 characters: openssl rand -hex 32."
  }
}

variable "media_public_key" {
  description = "PEM of the public key by which an application of one's own signs cookies for out/*; null: there is no such way."
  type        = string
  default     = null
}

variable "edge_cache_seconds" {
  description = "How long CloudFront keeps playlists, segments and pictures, and so how long after its deletion an asset may be seen."
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

  validation {
    condition     = var.rate_limit >= 100
    error_message = "A page with a player needs more."
  }
}

variable "price_class" {
  description = "Which edges serve: PriceClass_100 (North America, Europe), 200 or All."
  type        = string
  default     = "PriceClass_100"
}

variable "deletion_protection" {
  description = "Whether the load balancer refuses to be destroyed."
  type        = bool
  default     = true
}

variable "alarm_topic_arns" {
  description = "Whom alarms tell."
  type        = list(string)
  default     = []
}
