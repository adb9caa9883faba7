"""What the host needs: integer models, quantizer, compiler, driver, command line."""
