"""Arrays by the content of their source file: transactional, shared by all versions of a stage."""
