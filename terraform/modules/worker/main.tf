# One worker: its task (read-only, no root, no capability), the role that may do what this worker does and nothing else,
# its service, and how many of it there are.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "prefix" {
  description = "Names begin with it."
  type        = string
}

variable "name" {
  description = "The worker: transcoder, gateway, …"
  type        = string
}

variable "cluster" {
  description = "Name of the ECS cluster."
  type        = string
}

variable "region" {
  description = "Region of the logs."
  type        = string
}

variable "image" {
  description = "Image with its tag or digest."
  type        = string
}

variable "command" {
  description = "Arguments of `reelfleet`."
  type        = list(string)
}

variable "cpu" {
  description = "CPU units; 1024 is one vCPU."
  type        = number
}

variable "memory" {
  description = "MiB."
  type        = number
}

variable "environment" {
  description = "Environment variables."
  type        = map(string)
}

variable "secrets" {
  description = "Environment variables whose value is in a secret: name to ARN."
  type        = map(string)
  default     = {}
}

variable "statements" {
  description = "What the worker may do."
  type        = any
}

variable "ports" {
  description = "Ports that it listens on."
  type        = list(number)
  default     = []
}

variable "subnets" {
  description = "Where its tasks run."
  type        = list(string)
}

variable "security_groups" {
  description = "Groups of its tasks."
  type        = list(string)
}

variable "public_addresses" {
  description = "Whether tasks need an address of their own."
  type        = bool
}

variable "spot_weight" {
  description = "Tasks on Fargate Spot for each on Fargate; 0: none. Spot tells two minutes before it takes a task away."
  type        = number
}

variable "min" {
  description = "Tasks at least."
  type        = number
}

variable "max" {
  description = "Tasks at most."
  type        = number
}

variable "pool" {
  description = "Its pool of schema/scaling.json; null: as many tasks as `min` says."
  type = object({
    seconds          = map(number)
    slots            = number
    target_latency_s = number
    scale_in_after_s = number
  })
  default = null
}

variable "target_group_arn" {
  description = "Where the load balancer finds it."
  type        = string
  default     = null
}

variable "kms_key_arn" {
  description = "Key of logs and secrets."
  type        = string
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}

locals {
  full  = "${var.prefix}-${var.name}"
  pool  = var.pool == null ? [] : [var.pool]
  spare = var.spot_weight > 0 ? { FARGATE = 1, FARGATE_SPOT = var.spot_weight } : { FARGATE = 1 }
  # Names of metrics may not hold a dash.
  queues = { for queue in try(keys(var.pool.seconds), []) : queue => replace(queue, "-", "_") }
  assume = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_cloudwatch_log_group" "log" {
  name              = "/${var.prefix}/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# What ECS itself needs to start a task: the image, the log, the secrets.
resource "aws_iam_role" "start" {
  name               = "${local.full}-start"
  assume_role_policy = local.assume
}

resource "aws_iam_role_policy_attachment" "start" {
  role       = aws_iam_role.start.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_iam_role_policy" "secrets" {
  count = length(var.secrets) > 0 ? 1 : 0
  name  = "secrets"
  role  = aws_iam_role.start.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = values(var.secrets)
      },
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = var.kms_key_arn
      },
    ]
  })
}

# What the worker itself may do.
resource "aws_iam_role" "task" {
  name               = local.full
  assume_role_policy = local.assume
}

resource "aws_iam_role_policy" "task" {
  name   = "work"
  role   = aws_iam_role.task.id
  policy = jsonencode({ Version = "2012-10-17", Statement = var.statements })
}

resource "aws_ecs_task_definition" "task" {
  family                   = local.full
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.start.arn
  task_role_arn            = aws_iam_role.task.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }

  container_definitions = jsonencode([{
    name                   = var.name
    image                  = var.image
    command                = var.command
    essential              = true
    user                   = "10001:10001"
    readonlyRootFilesystem = true
    # Longer than the grace, within which running tasks end or are given back.
    stopTimeout = 120
    linuxParameters = {
      initProcessEnabled = true
      capabilities       = { add = [], drop = ["ALL"] }
    }
    healthCheck = {
      command     = ["CMD", "/usr/bin/reelfleet", "health"]
      interval    = 15
      timeout     = 5
      retries     = 3
      startPeriod = 60
    }
    environment  = [for name in sort(keys(var.environment)) : { name = name, value = var.environment[name] }]
    secrets      = [for name in sort(keys(var.secrets)) : { name = name, valueFrom = var.secrets[name] }]
    portMappings = [for port in var.ports : { containerPort = port, hostPort = port, protocol = "tcp" }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.log.name
        awslogs-region        = var.region
        awslogs-stream-prefix = var.name
        mode                  = "non-blocking"
        max-buffer-size       = "4m"
      }
    }
  }])
}

resource "aws_ecs_service" "service" {
  name                               = local.full
  cluster                            = var.cluster
  task_definition                    = aws_ecs_task_definition.task.arn
  desired_count                      = var.min
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  propagate_tags                     = "SERVICE"
  health_check_grace_period_seconds  = var.target_group_arn == null ? null : 120

  dynamic "capacity_provider_strategy" {
    for_each = local.spare
    content {
      capacity_provider = capacity_provider_strategy.key
      weight            = capacity_provider_strategy.value
    }
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnets
    security_groups  = var.security_groups
    assign_public_ip = var.public_addresses
  }

  dynamic "load_balancer" {
    for_each = var.target_group_arn[*]
    content {
      target_group_arn = load_balancer.value
      container_name   = var.name
      container_port   = var.ports[0]
    }
  }

  # The scaling below, and `aws ecs update-service`, decide on it.
  lifecycle {
    ignore_changes = [desired_count]
  }
}

resource "aws_appautoscaling_target" "service" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${var.cluster}/${aws_ecs_service.service.name}"
  min_capacity       = var.min
  max_capacity       = var.max
}

# The formula of docs and code, as CloudWatch can say it: with
#   metric = Σ (visible + in flight) × seconds ÷ (slots × running)   and   target = target latency
# target tracking wants  running × metric ÷ target = Σ … ÷ (target latency × slots)  tasks.
resource "aws_appautoscaling_policy" "work" {
  count              = length(local.pool)
  name               = "${local.full}-work"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.service.service_namespace
  scalable_dimension = aws_appautoscaling_target.service.scalable_dimension
  resource_id        = aws_appautoscaling_target.service.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.pool.target_latency_s
    scale_in_cooldown  = var.pool.scale_in_after_s
    scale_out_cooldown = 30

    customized_metric_specification {
      dynamic "metrics" {
        for_each = merge([
          for queue, id in local.queues : {
            "visible_${id}"   = { queue = queue, metric = "ApproximateNumberOfMessagesVisible" }
            "in_flight_${id}" = { queue = queue, metric = "ApproximateNumberOfMessagesNotVisible" }
          }
        ]...)
        content {
          id          = metrics.key
          return_data = false
          metric_stat {
            stat = "Maximum"
            metric {
              namespace   = "AWS/SQS"
              metric_name = metrics.value.metric
              dimensions {
                name  = "QueueName"
                value = "${var.prefix}-${metrics.value.queue}"
              }
            }
          }
        }
      }
      metrics {
        id          = "running"
        return_data = false
        metric_stat {
          stat = "Maximum"
          metric {
            namespace   = "ECS/ContainerInsights"
            metric_name = "RunningTaskCount"
            dimensions {
              name  = "ClusterName"
              value = var.cluster
            }
            dimensions {
              name  = "ServiceName"
              value = local.full
            }
          }
        }
      }
      metrics {
        id    = "seconds_each"
        label = "Seconds of work for each ${var.name}"
        expression = format(
          "(%s) / (%s * IF(FILL(running, 0) > 1, FILL(running, 0), 1))",
          join(" + ", [
            for queue, id in local.queues :
            "${var.pool.seconds[queue]} * (FILL(visible_${id}, 0) + FILL(in_flight_${id}, 0))"
          ]),
          var.pool.slots,
        )
        return_data = true
      }
    }
  }
}

# What no queue wakes is scaled by its CPU.
resource "aws_appautoscaling_policy" "cpu" {
  count              = length(local.pool) == 0 && var.max > var.min ? 1 : 0
  name               = "${local.full}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.service.service_namespace
  scalable_dimension = aws_appautoscaling_target.service.scalable_dimension
  resource_id        = aws_appautoscaling_target.service.resource_id

  target_tracking_scaling_policy_configuration {
    target_value = 60
    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

# Target tracking may never leave 0, where there is no running task to divide by: the first is started by what waits.
resource "aws_appautoscaling_policy" "first" {
  count              = length(local.pool) > 0 && var.min == 0 ? 1 : 0
  name               = "${local.full}-first"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.service.service_namespace
  scalable_dimension = aws_appautoscaling_target.service.scalable_dimension
  resource_id        = aws_appautoscaling_target.service.resource_id

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    cooldown                = 120
    metric_aggregation_type = "Maximum"
    step_adjustment {
      metric_interval_lower_bound = 0
      scaling_adjustment          = 1
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "first" {
  count               = length(aws_appautoscaling_policy.first)
  alarm_name          = "${local.full}-first"
  alarm_description   = "Something waits and nobody runs. It starts the first ${var.name}; no person is told."
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.first[0].arn]

  dynamic "metric_query" {
    for_each = local.queues
    content {
      id          = "visible_${metric_query.value}"
      return_data = false
      metric {
        namespace   = "AWS/SQS"
        metric_name = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = "${var.prefix}-${metric_query.key}" }
        stat        = "Maximum"
        period      = 60
      }
    }
  }
  metric_query {
    id          = "running"
    return_data = false
    metric {
      namespace   = "ECS/ContainerInsights"
      metric_name = "RunningTaskCount"
      dimensions  = { ClusterName = var.cluster, ServiceName = local.full }
      stat        = "Maximum"
      period      = 60
    }
  }
  metric_query {
    id          = "waiting"
    expression  = "IF(FILL(running, 0) < 1, ${join(" + ", [for id in values(local.queues) : "FILL(visible_${id}, 0)"])}, 0)"
    label       = "Waiting while nobody runs"
    return_data = true
  }
}

output "service" {
  description = "Name of the service."
  value       = aws_ecs_service.service.name
}

output "task_definition" {
  description = "ARN of the task definition."
  value       = aws_ecs_task_definition.task.arn
}

output "role_name" {
  description = "The same role by its name, for more policies."
  value       = aws_iam_role.task.name
}

output "scalable_target_arn" {
  description = "What Application Auto Scaling knows the service by."
  value       = aws_appautoscaling_target.service.arn
}

output "role_arn" {
  description = "Role of the worker."
  value       = aws_iam_role.task.arn
}

output "start_role_arn" {
  description = "Role by which ECS starts it."
  value       = aws_iam_role.start.arn
}

output "log_group" {
  description = "Where it logs."
  value       = aws_cloudwatch_log_group.log.name
}
