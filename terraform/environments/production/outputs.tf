output "url" {
  description = "Where people go."
  value       = module.fleet.url
}

output "uploads_bucket" {
  description = "Whatever lands here is processed."
  value       = module.fleet.uploads_bucket
}

output "outputs_bucket" {
  description = "What the fleet makes."
  value       = module.fleet.outputs_bucket
}

output "repositories" {
  description = "Where the images are pushed."
  value       = module.fleet.repositories
}

output "secrets" {
  description = "Secrets that wait for a value."
  value       = module.fleet.secrets
}

output "migrate_command" {
  description = "Makes or updates the schema."
  value       = module.fleet.migrate_command
}

output "environment" {
  description = "What `reelfleet` on an operator's own machine needs."
  value       = module.fleet.environment
}

output "cluster" {
  description = "ECS cluster."
  value       = module.fleet.cluster
}

output "services" {
  description = "ECS services by worker."
  value       = module.fleet.services
}

output "scale_policy_arn" {
  description = "Policy of whoever scales by `reelfleet scale` on a machine of their own: attach it to their role."
  value       = module.fleet.scale_policy_arn
}

output "queues" {
  description = "Queues and their dead-letter queues."
  value       = module.fleet.queues
}

output "distribution_id" {
  description = "CloudFront distribution."
  value       = module.fleet.distribution_id
}
