# The whole fleet on AWS: what environments/small and environments/production differ in are its variables.

terraform {
  required_providers {
    aws = {
      source                = "hashicorp/aws"
      version               = "~> 5.100"
      configuration_aliases = [aws, aws.global]
    }
  }
}

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}
data "aws_availability_zones" "here" {
  state = "available"
}

locals {
  account   = data.aws_caller_identity.here.account_id
  partition = data.aws_partition.here.partition
  scaling   = jsondecode(file("${path.module}/../../../schema/scaling.json"))
  # Bucket names are everybody's: the account makes ours our own.
  buckets = {
    uploads = "${var.prefix}-uploads-${local.account}"
    outputs = "${var.prefix}-outputs-${local.account}"
  }
  ports = { gateway = 8080, notifier = 8081, health = 9100 }
}

module "key" {
  source     = "../key"
  prefix     = var.prefix
  account_id = local.account
  partition  = local.partition
  region     = var.region
}

module "alerts" {
  source             = "../alerts"
  prefix             = var.prefix
  account_id         = local.account
  kms_key_arn        = module.key.arn
  emails             = var.alert_emails
  monthly_budget_usd = var.monthly_budget_usd
}

module "network" {
  source  = "../network"
  prefix  = var.prefix
  region  = var.region
  profile = var.network_profile
  nat     = var.nat
  zones   = slice(data.aws_availability_zones.here.names, 0, 2)
}

module "backbone" {
  source             = "../backbone"
  prefix             = var.prefix
  account_id         = local.account
  partition          = local.partition
  bucket_names       = local.buckets
  kms_key_arn        = module.key.arn
  alarm_topic_arns   = module.alerts.topic_arns
  outputs_statements = module.edge.outputs_statements
  quarantine_days    = var.quarantine_days
  original_days      = var.original_days
  quarantine_readers = var.quarantine_readers
}

# Whoever wants a mail of some events, without an account. Each must confirm the mail that AWS sends. The notifier writes
# what is in it; the topic of events is for programs.
resource "aws_sns_topic_subscription" "event_email" {
  for_each      = var.event_emails
  topic_arn     = module.backbone.topic_arns["mails"]
  protocol      = "email"
  endpoint      = each.key
  filter_policy = jsonencode({ type = each.value.types, tenant = coalescelist(each.value.tenants, [var.tenant]) })

  lifecycle {
    precondition {
      condition     = length(setsubtract(each.value.types, module.backbone.topology.mailed_events)) == 0
      error_message = "Mails tell of: ${join(", ", module.backbone.topology.mailed_events)}."
    }
  }
}

module "database" {
  source              = "../database"
  prefix              = var.prefix
  vpc_id              = module.network.vpc_id
  subnets             = module.network.data_subnets
  kms_key_arn         = module.key.arn
  min_capacity        = var.database.min_capacity
  max_capacity        = var.database.max_capacity
  readers             = var.database.readers
  backup_days         = var.database.backup_days
  deletion_protection = var.deletion_protection
  alarm_topic_arns    = module.alerts.topic_arns
}

module "edge" {
  source = "../edge"
  providers = {
    aws        = aws
    aws.global = aws.global
  }
  prefix              = var.prefix
  account_id          = local.account
  domain              = var.domain
  zone_id             = var.zone_id
  vpc_id              = module.network.vpc_id
  public_subnets      = module.network.public_subnets
  task_security_group = module.network.task_security_group
  ports               = local.ports
  outputs_domain      = module.backbone.outputs_domain
  origin_secret       = var.origin_secret
  media_public_key    = var.media_public_key
  edge_cache_seconds  = var.edge_cache_seconds
  rate_limit          = var.rate_limit
  price_class         = var.price_class
  deletion_protection = var.deletion_protection
  alarm_topic_arns    = module.alerts.topic_arns
}

# --- images, and secrets whose values a person puts in (docs/deploy.md): none is ever in the state ---

# `fleet`: gateway, notifier, metadata, janitor. `media`: the same with the decoder: intake, transcoder, thumbnailer.
resource "aws_ecr_repository" "image" {
  for_each             = toset(["fleet", "media"])
  name                 = "${var.prefix}/${each.value}"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = !var.deletion_protection
  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = module.key.arn
  }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each   = aws_ecr_repository.image
  repository = each.value.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "The last 20, so that one can go back"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_secretsmanager_secret" "secret" {
  for_each = toset(concat(
    ["playback", "session", "webhook"], var.mail_from == "" ? [] : ["smtp"], var.oidc == null ? [] : ["oidc"],
  ))
  name                    = "${var.prefix}/${each.value}"
  kms_key_id              = module.key.arn
  recovery_window_in_days = var.deletion_protection ? 30 : 0
}

# --- the cluster ---

resource "aws_ecs_cluster" "fleet" {
  name = var.prefix
  # RunningTaskCount, which the scaling divides by, comes from it.
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "fleet" {
  cluster_name       = aws_ecs_cluster.fleet.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

module "worker" {
  source     = "../worker"
  for_each   = local.workers
  depends_on = [aws_ecs_cluster_capacity_providers.fleet]

  prefix           = var.prefix
  name             = each.key
  cluster          = aws_ecs_cluster.fleet.name
  region           = var.region
  image            = "${aws_ecr_repository.image[each.value.image].repository_url}:${var.image_tag}"
  command          = each.value.command
  cpu              = var.sizes[each.key].cpu
  memory           = var.sizes[each.key].memory
  environment      = merge(local.environment, local.tracing, each.value.environment, try(var.extra_environment[each.key], {}))
  secrets          = each.value.secrets
  statements       = concat(local.everyone, each.value.statements)
  ports            = each.value.ports
  subnets          = module.network.task_subnets
  security_groups  = [module.network.task_security_group]
  public_addresses = module.network.public_addresses
  # What must be there at any time is not on Spot.
  spot_weight      = contains(keys(local.scaling.pools), each.key) ? var.spot_weight : 0
  min              = var.sizes[each.key].min
  max              = var.sizes[each.key].max
  pool             = try(local.scaling.pools[each.key], null)
  target_group_arn = each.value.target_group_arn
  kms_key_arn      = module.key.arn
  log_days         = var.log_days
}

# --- operators: other bounds for the pools, and for nothing else; for the gateway (the operations page), and for whoever runs
# `reelfleet scale` on a machine of their own ---

resource "aws_iam_policy" "scale" {
  name        = "${var.prefix}-scale"
  description = "How many tasks the pools of ${var.prefix} have"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Bounds"
        Effect   = "Allow"
        Action   = ["application-autoscaling:RegisterScalableTarget"]
        Resource = [for name in sort(keys(local.scaled)) : module.worker[name].scalable_target_arn]
        Condition = {
          StringEquals = {
            "application-autoscaling:service-namespace"  = "ecs"
            "application-autoscaling:scalable-dimension" = "ecs:service:DesiredCount"
          }
        }
      },
      {
        # Application Auto Scaling asks whether its caller might do it at the service itself.
        Sid    = "Services"
        Effect = "Allow"
        Action = ["ecs:DescribeServices", "ecs:UpdateService"]
        Resource = [
          for name in sort(keys(local.scaled)) :
          "arn:${local.partition}:ecs:${var.region}:${local.account}:service/${var.prefix}/${var.prefix}-${name}"
        ]
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "scale" {
  role       = module.worker["gateway"].role_name
  policy_arn = aws_iam_policy.scale.arn
}

# --- the schema: a task that is run once before an update (docs/deploy.md), by the image that is to come ---

resource "aws_ecs_task_definition" "migrate" {
  family                   = "${var.prefix}-migrate"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = module.worker["metadata"].start_role_arn
  task_role_arn            = module.worker["metadata"].role_arn
  container_definitions = jsonencode([{
    name                   = "migrate"
    image                  = "${aws_ecr_repository.image["fleet"].repository_url}:${var.image_tag}"
    command                = ["migrate"]
    essential              = true
    user                   = "10001:10001"
    readonlyRootFilesystem = true
    stopTimeout            = 120
    linuxParameters        = { initProcessEnabled = true, capabilities = { add = [], drop = ["ALL"] } }
    environment            = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = module.worker["metadata"].log_group
        awslogs-region        = var.region
        awslogs-stream-prefix = "migrate"
        mode                  = "non-blocking"
        max-buffer-size       = "4m"
      }
    }
  }])
}
