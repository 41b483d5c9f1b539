# Where it runs: two zones. `public`: tasks have addresses of their own and a security group that lets nobody in; nothing
# is paid by the hour. `private`: tasks have none and reach AWS by interface endpoints, which are paid per zone.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

variable "prefix" {
  description = "Names begin with it."
  type        = string
}

variable "region" {
  description = "Region of the endpoints."
  type        = string
}

variable "profile" {
  description = "public or private."
  type        = string

  validation {
    condition     = contains(["public", "private"], var.profile)
    error_message = "public or private."
  }
}

variable "nat" {
  description = "private only: a NAT gateway, for mails by a server outside of AWS, webhooks and sign-in by other services."
  type        = bool
  default     = false
}

variable "cidr" {
  description = "Addresses of the network, a /16."
  type        = string
  default     = "10.42.0.0/16"
}

variable "zones" {
  description = "The two availability zones."
  type        = list(string)

  validation {
    condition     = length(var.zones) == 2
    error_message = "Exactly two zones."
  }
}

locals {
  private = var.profile == "private"
  # What the fleet and its platform call; S3 has a gateway endpoint, which costs nothing.
  services = ["sqs", "sns", "rds-data", "secretsmanager", "logs", "ecr.api", "ecr.dkr"]
}

resource "aws_vpc" "vpc" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = { Name = var.prefix }
}

# What AWS makes by itself lets everything in this group talk; here it lets nothing.
resource "aws_default_security_group" "none" {
  vpc_id = aws_vpc.vpc.id
}

resource "aws_internet_gateway" "out" {
  vpc_id = aws_vpc.vpc.id
  tags   = { Name = var.prefix }
}

resource "aws_subnet" "public" {
  count             = 2
  vpc_id            = aws_vpc.vpc.id
  availability_zone = var.zones[count.index]
  cidr_block        = cidrsubnet(var.cidr, 4, count.index)
  tags              = { Name = "${var.prefix}-public-${count.index}" }
}

resource "aws_subnet" "private" {
  count             = 2
  vpc_id            = aws_vpc.vpc.id
  availability_zone = var.zones[count.index]
  cidr_block        = cidrsubnet(var.cidr, 4, 2 + count.index)
  tags              = { Name = "${var.prefix}-private-${count.index}" }
}

# Nothing leads here from outside and nothing leads out: only the database is in it.
resource "aws_subnet" "data" {
  count             = 2
  vpc_id            = aws_vpc.vpc.id
  availability_zone = var.zones[count.index]
  cidr_block        = cidrsubnet(var.cidr, 8, 250 + count.index)
  tags              = { Name = "${var.prefix}-data-${count.index}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.vpc.id
  tags   = { Name = "${var.prefix}-public" }
}

resource "aws_route" "public" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.out.id
}

resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.vpc.id
  tags   = { Name = "${var.prefix}-private" }
}

resource "aws_route_table_association" "private" {
  count          = 2
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private.id
}

resource "aws_eip" "nat" {
  count  = local.private && var.nat ? 1 : 0
  domain = "vpc"
  tags   = { Name = "${var.prefix}-nat" }
}

resource "aws_nat_gateway" "nat" {
  count         = local.private && var.nat ? 1 : 0
  subnet_id     = aws_subnet.public[0].id
  allocation_id = aws_eip.nat[0].id
  tags          = { Name = var.prefix }
}

resource "aws_route" "nat" {
  count                  = local.private && var.nat ? 1 : 0
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.nat[0].id
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.vpc.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public.id, aws_route_table.private.id]
  tags              = { Name = "${var.prefix}-s3" }
}

# Tasks: nobody gets in but by what is added for one of them; out to AWS and, for mails and webhooks, to anywhere.
resource "aws_security_group" "tasks" {
  name        = "${var.prefix}-tasks"
  description = "Tasks of the fleet"
  vpc_id      = aws_vpc.vpc.id
}

resource "aws_vpc_security_group_egress_rule" "tasks" {
  security_group_id = aws_security_group.tasks.id
  description       = "AWS, mail servers, webhooks"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_security_group" "endpoints" {
  count       = local.private ? 1 : 0
  name        = "${var.prefix}-endpoints"
  description = "Interface endpoints of AWS services"
  vpc_id      = aws_vpc.vpc.id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count                        = local.private ? 1 : 0
  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "Tasks"
  referenced_security_group_id = aws_security_group.tasks.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = local.private ? toset(local.services) : toset([])
  vpc_id              = aws_vpc.vpc.id
  service_name        = "com.amazonaws.${var.region}.${each.value}"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.endpoints[0].id]
  private_dns_enabled = true
  tags                = { Name = "${var.prefix}-${each.value}" }
}

output "vpc_id" {
  description = "The network."
  value       = aws_vpc.vpc.id
}

output "task_subnets" {
  description = "Where tasks run."
  value       = local.private ? aws_subnet.private[*].id : aws_subnet.public[*].id
}

output "public_subnets" {
  description = "Where the load balancer stands."
  value       = aws_subnet.public[*].id
}

output "data_subnets" {
  description = "Where the database stands."
  value       = aws_subnet.data[*].id
}

output "task_security_group" {
  description = "Group of all tasks."
  value       = aws_security_group.tasks.id
}

output "public_addresses" {
  description = "Whether tasks need addresses of their own to reach AWS."
  value       = !local.private
}
