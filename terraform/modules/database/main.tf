# The database: Aurora PostgreSQL Serverless v2, spoken to by the Data API alone. No port is open to anybody, not even to
# the fleet. It may sleep: the catalog waits for a cluster that resumes.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "prefix" {
  description = "Names begin with it."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnets" {
  description = "Subnets of two zones."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "Key that encrypts."
  type        = string
}

variable "min_capacity" {
  description = "Aurora capacity units at least; 0: it sleeps when idle, and the first call after takes about 15 s."
  type        = number
}

variable "max_capacity" {
  description = "Aurora capacity units at most."
  type        = number
}

variable "auto_pause_seconds" {
  description = "Idle seconds until it sleeps; for min_capacity 0."
  type        = number
  default     = 900
}

variable "readers" {
  description = "Readers beside the writer: what takes over when a zone fails. The Data API itself speaks to the writer."
  type        = number
  default     = 0
}

variable "backup_days" {
  description = "Days that can be gone back to."
  type        = number
  default     = 14
}

variable "deletion_protection" {
  description = "Whether it refuses to be destroyed."
  type        = bool
  default     = true
}

variable "alarm_topic_arns" {
  description = "Whom alarms tell."
  type        = list(string)
  default     = []
}

resource "aws_db_subnet_group" "database" {
  name       = var.prefix
  subnet_ids = var.subnets
}

resource "aws_security_group" "database" {
  name        = "${var.prefix}-database"
  description = "No rule: the Data API needs none"
  vpc_id      = var.vpc_id
}

resource "aws_rds_cluster" "database" {
  cluster_identifier          = var.prefix
  engine                      = "aurora-postgresql"
  engine_mode                 = "provisioned"
  engine_version              = "16.6"
  database_name               = "reelfleet"
  master_username             = "reelfleet"
  manage_master_user_password = true
  enable_http_endpoint        = true
  storage_encrypted           = true
  kms_key_id                  = var.kms_key_arn
  db_subnet_group_name        = aws_db_subnet_group.database.name
  vpc_security_group_ids      = [aws_security_group.database.id]
  backup_retention_period     = var.backup_days
  copy_tags_to_snapshot       = true
  deletion_protection         = var.deletion_protection
  skip_final_snapshot         = !var.deletion_protection
  final_snapshot_identifier   = "${var.prefix}-last"

  serverlessv2_scaling_configuration {
    min_capacity             = var.min_capacity
    max_capacity             = var.max_capacity
    seconds_until_auto_pause = var.min_capacity == 0 ? var.auto_pause_seconds : null
  }

  # Minor versions come by themselves.
  lifecycle {
    ignore_changes = [engine_version]
  }
}

resource "aws_rds_cluster_instance" "database" {
  count                = 1 + var.readers
  identifier           = "${var.prefix}-${count.index}"
  cluster_identifier   = aws_rds_cluster.database.id
  engine               = aws_rds_cluster.database.engine
  instance_class       = "db.serverless"
  publicly_accessible  = false
  db_subnet_group_name = aws_db_subnet_group.database.name
  promotion_tier       = count.index == 0 ? 0 : 1
}

resource "aws_cloudwatch_metric_alarm" "capacity" {
  alarm_name          = "${var.prefix}-database-full"
  alarm_description   = "The database has been at its largest for 15 minutes: raise database.max_capacity"
  namespace           = "AWS/RDS"
  metric_name         = "ACUUtilization"
  dimensions          = { DBClusterIdentifier = aws_rds_cluster.database.cluster_identifier }
  statistic           = "Average"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 95
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

output "arn" {
  description = "REELFLEET_DB_RESOURCE_ARN."
  value       = aws_rds_cluster.database.arn
}

output "secret_arn" {
  description = "REELFLEET_DB_SECRET_ARN."
  value       = aws_rds_cluster.database.master_user_secret[0].secret_arn
}

output "name" {
  description = "REELFLEET_DB_NAME."
  value       = aws_rds_cluster.database.database_name
}
