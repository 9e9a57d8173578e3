"""The running server: sources feed the hub, the hub feeds streams, operators ask the admin endpoint."""
