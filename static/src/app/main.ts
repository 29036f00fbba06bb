import "../ui/theme.css";
import "../ui/controls.css";
import "./app.css";
import "./list.css";
import { refuseDrops } from "../ui/drop";
import { showScheme } from "../ui/scheme";
import "./app";

showScheme();
refuseDrops();
