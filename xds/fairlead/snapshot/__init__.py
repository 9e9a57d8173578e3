"""What proxies are sent: named resources, each encoded and framed once, in tables that know what changed."""
