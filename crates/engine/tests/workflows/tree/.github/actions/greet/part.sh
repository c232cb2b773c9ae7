echo "a part of the action"
