output "url" {
  description = "Where people go."
  value       = module.edge.url
}

output "uploads_bucket" {
  description = "Whatever lands here is processed."
  value       = module.backbone.bucket_names.uploads
}

output "outputs_bucket" {
  description = "What the fleet makes."
  value       = module.backbone.bucket_names.outputs
}

output "repositories" {
  description = "Where the images are pushed."
  value       = { for name, repository in aws_ecr_repository.image : name => repository.repository_url }
}

output "secrets" {
  description = "Secrets that wait for a value (docs/deploy.md)."
  value       = { for name, secret in aws_secretsmanager_secret.secret : name => secret.name }
}

output "migrate_command" {
  description = "Makes or updates the schema: before the first start, and before each update."
  value = join(" ", [
    "aws ecs run-task --region ${var.region} --cluster ${aws_ecs_cluster.fleet.name}",
    "--task-definition ${aws_ecs_task_definition.migrate.family} --launch-type FARGATE",
    "--network-configuration 'awsvpcConfiguration={subnets=[${join(",", module.network.task_subnets)}],securityGroups=[${module.network.task_security_group}],assignPublicIp=${module.network.public_addresses ? "ENABLED" : "DISABLED"}}'",
  ])
}

output "environment" {
  description = "What `reelfleet` on an operator's own machine needs: eval \"$(terraform output -json environment | jq -r 'to_entries[] | \"export \\(.key)=\\(.value | @sh)\"')\"."
  value       = { for name, value in merge(local.environment, local.operating) : name => value if !contains(["REELFLEET_HEALTH_LISTEN", "REELFLEET_LOG_FORMAT"], name) }
}

output "cluster" {
  description = "ECS cluster."
  value       = aws_ecs_cluster.fleet.name
}

output "services" {
  description = "ECS services by worker."
  value       = { for name, worker in module.worker : name => worker.service }
}

output "scale_policy_arn" {
  description = "Policy of whoever scales by `reelfleet scale` on a machine of their own: attach it to their role."
  value       = aws_iam_policy.scale.arn
}

output "queues" {
  description = "Queues and their dead-letter queues by name."
  value       = { for name, queue in module.backbone.queues : name => { url = queue.url, dead_letters = queue.dead_letter_arn } }
}

output "distribution_id" {
  description = "CloudFront distribution."
  value       = module.edge.distribution_id
}

output "database_arn" {
  description = "Database cluster."
  value       = module.database.arn
}
