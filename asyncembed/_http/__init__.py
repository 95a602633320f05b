"""Sends requests and reads responses over HTTP."""
