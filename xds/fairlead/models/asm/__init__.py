"""Kinds of Alibaba Cloud Service Mesh (ASM)."""
