"""docs/messages.md says what the interfaces say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("message_reference", ROOT / "scripts" / "message_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.reference()
    assert module.TARGET.read_text() == text, "run scripts/message_reference.py"
    assert "## TrackObject (srv)" in text and "uint32[] counts" in text
