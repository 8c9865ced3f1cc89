"""The service, a browser and HTML."""
