-- What kind of change a proposal is: create_record, update_record, delete_record, action, flow. NULL in
-- rows of the version before, whose tools' names tell it.

ALTER TABLE ai_pending_actions ADD COLUMN kind TEXT;
