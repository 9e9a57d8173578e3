"""Real Envoys and small backends on loopback, for `fairlead demo`, docker-compose and the end-to-end tests."""
