"""The HTTP front: Ray Serve applications, routers, schemas and problem documents."""
