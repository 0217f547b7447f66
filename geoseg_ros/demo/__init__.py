"""The demo: live nodes and a replayed bag in processes of their own, followed objects, measured against truth."""
