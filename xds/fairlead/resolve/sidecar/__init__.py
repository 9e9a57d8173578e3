"""What sidecars do: proxies beside applications, with listeners of their own instead of captured connections."""
